# Runs at installation, with the final CMAKE_INSTALL_PREFIX; file(INSTALL) puts DESTDIR before it.
set(bindir ${CMAKE_INSTALL_PREFIX}/bin)
configure_file(${dray_tracker_package}/dray-tracker.service.in
  ${dray_tracker_made}/dray-tracker.service @ONLY)
file(INSTALL ${dray_tracker_made}/dray-tracker.service
  ${dray_tracker_package}/dray-tracker.socket
  DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/systemd/system
  PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

# An operator's config is never overwritten.
if(NOT EXISTS $ENV{DESTDIR}/etc/dray/tracker.yaml)
  file(INSTALL ${dray_tracker_package}/../../docs/tracker.yaml DESTINATION /etc/dray
    PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
else()
  message(STATUS "Kept: $ENV{DESTDIR}/etc/dray/tracker.yaml")
endif()
