# Puts page.css and page.js into page.html and writes it as C, in two halves around the data:
# cmake -DOUT=report_page.c -P embed.cmake
file(READ ${CMAKE_CURRENT_LIST_DIR}/page.html html)
foreach(part css js)
  string(TOUPPER ${part} mark)
  file(READ ${CMAKE_CURRENT_LIST_DIR}/page.${part} text)
  string(REPLACE "@@${mark}@@" "${text}" html "${html}")
endforeach()

set(source "/* Made from sim/report/ by the build; not edited by hand. */\n#include \"sim/report_page.h\"\n")
string(FIND "${html}" "@@DATA@@" at)
string(SUBSTRING "${html}" 0 ${at} head)
math(EXPR after "${at} + 8")
string(SUBSTRING "${html}" ${after} -1 tail)
foreach(half head tail)
  string(TOUPPER ${half} name)
  string(HEX "${${half}}" hex)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(................................................................................)"
    "\\1\n" bytes "${bytes}")
  string(APPEND source "\nconst unsigned char REPORT_PAGE_${name}[] = {\n${bytes}};\n"
    "const size_t REPORT_PAGE_${name}_BYTES = sizeof(REPORT_PAGE_${name});\n")
endforeach()
file(WRITE ${OUT} "${source}")
