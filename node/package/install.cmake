# Runs at installation, with the final CMAKE_INSTALL_PREFIX; file(INSTALL) puts DESTDIR before it.
set(bindir ${CMAKE_INSTALL_PREFIX}/bin)
configure_file(${dray_package}/dray-node.service.in ${dray_made}/dray-node.service @ONLY)
file(INSTALL ${dray_made}/dray-node.service
  ${dray_package}/dray-node.socket
  DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/systemd/system
  PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

# An operator's config is never overwritten.
if(NOT EXISTS $ENV{DESTDIR}/etc/dray/node.yaml)
  file(INSTALL ${dray_package}/../../docs/node.yaml DESTINATION /etc/dray
    PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
else()
  message(STATUS "Kept: $ENV{DESTDIR}/etc/dray/node.yaml")
endif()
