/* keygen.h - the command `keygen`: makes the key files of a region (runtime/keyfile.h). */
#pragma once

/* argv[0] is that word. Returns the exit code. */
int keygen_main(int argc, char **argv);
