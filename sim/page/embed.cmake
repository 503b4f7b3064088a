# Puts page.css and page.js into index.html and writes it as C, in two halves around the data:
# cmake -DOUT=page_parts.c -P embed.cmake
file(READ ${CMAKE_CURRENT_LIST_DIR}/index.html html)
foreach(part css js)
  string(TOUPPER ${part} mark)
  file(READ ${CMAKE_CURRENT_LIST_DIR}/page.${part} text)
  string(REPLACE "@@${mark}@@" "${text}" html "${html}")
endforeach()
string(FIND "${html}" "@@DATA@@" at)
string(SUBSTRING "${html}" 0 ${at} head)
math(EXPR after "${at} + 8")
string(SUBSTRING "${html}" ${after} -1 tail)

set(source "/* Made from sim/page/ by the build; not edited by hand. */\n#include \"sim/page_parts.h\"\n")
foreach(half head tail)
  string(TOUPPER ${half} name)
  string(HEX "${${half}}" hex)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND source "\nconst unsigned char PAGE_${name}[] = {${bytes}};\n"
    "const size_t PAGE_${name}_BYTES = sizeof(PAGE_${name});\n")
endforeach()
file(WRITE ${OUT} "${source}")
