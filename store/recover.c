/* recover.c - chooses the job, forks the child that does it, and reads what it found.
 *
 * The child closes nothing but the lock: our lock must not outlive us in a child that is still
 * walking, so it also asks to die with us. It leaves by _exit: no handler of the daemon's runs
 * twice. */
#include "store/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void recover_child(const struct recover_plan *plan, enum recover_job job,
                                    int lock_fd, int pipe_fd, pid_t parent)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < countof(fatal); i++)
        signal(fatal[i], SIG_DFL); /* die quietly */
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before we asked */
    close(lock_fd);

    struct recover_report report;
    memset(&report, 0, sizeof(report));
    recover_run(plan, job, &report);
    /* Shorter than PIPE_BUF: written whole or not at all. */
    _exit(write(pipe_fd, &report, sizeof(report)) == (ssize_t)sizeof(report) ? 0 : 1);
}

static ssize_t recover_read(int fd, struct recover_report *report)
{
    ssize_t n;
    do
        n = read(fd, report, sizeof(*report));
    while (n < 0 && errno == EINTR);
    return n;
}

/* Runs a job in a child. 0 with report->rc when it lived; ERR_CORRUPT when it died; ERR_FULL,
 * ERR_NOMEM, ERR_IO when there was no child. */
static int recover_fork(const struct recover_plan *plan, enum recover_job job, int lock_fd,
                        struct recover_report *report)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return layout_err(errno);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) {
        int err = errno == EAGAIN ? ERR_FULL : layout_err(errno);
        close(fds[0]);
        close(fds[1]);
        return err;
    }
    if (pid == 0) {
        close(fds[0]);
        recover_child(plan, job, lock_fd, fds[1], parent);
    }
    close(fds[1]);
    bool whole = recover_read(fds[0], report) == (ssize_t)sizeof(*report);
    close(fds[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return whole ? 0 : ERR_CORRUPT;
}

/* A damaged index may say that it is larger than any address space: LMDB has no memory, then. So
 * has a process with a limit. */
static bool recover_has_room(const struct recover_plan *plan)
{
    void *at =
        mmap(NULL, plan->map_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at != MAP_FAILED && munmap(at, plan->map_bytes) == 0;
}

static int recover_refusal(const struct recover_plan *plan, int err, char why[LAYOUT_WHY])
{
    const char *path = plan->layout->path;
    if (err == ERR_NOSPACE)
        return layout_why(why, err,
                          "store %.100s: no space to write the index: free some space on this disk",
                          path);
    if (err == ERR_FULL)
        return layout_why(why, err,
                          "store %.100s: cannot start a process to check the index: raise the "
                          "limits on processes and open files",
                          path);
    if (err == ERR_NOMEM)
        return layout_why(why, err,
                          "store %.100s: not enough memory to check the index: it maps %llu GiB of "
                          "address space, raise the limit on it (ulimit -v)",
                          path, (unsigned long long)(plan->map_bytes >> 30));
    return layout_why(why, ERR_IO,
                      "store %.100s: the index cannot be rebuilt: check the disk (dmesg), and that "
                      "index/ and blobs/ can be written",
                      path);
}

int recover_index(const struct recover_plan *plan, const struct mark *mark,
                  struct recover_report *report, struct store_opened *found, char why[LAYOUT_WHY])
{
    enum recover_job job = mark->clean ? RECOVER_CHECK : RECOVER_RECONCILE;
    const char *rebuild = NULL;
    memset(report, 0, sizeof(*report));
    if (!mark->clean && !mark->same_boot)
        rebuild = "the machine stopped without an orderly close";

    if (!rebuild) {
        int rc = recover_fork(plan, job, mark->lock_fd, report);
        if (rc < 0 && rc != ERR_CORRUPT)
            return recover_refusal(plan, rc, why);
        if (rc == 0 && report->rc == ERR_NOMEM && recover_has_room(plan))
            report->rc = ERR_CORRUPT;
        if (rc == 0 && (report->rc == ERR_NOMEM || report->rc == ERR_FULL))
            return recover_refusal(plan, report->rc, why);
        if (rc < 0 || report->rc == ERR_CORRUPT)
            rebuild = "the index was damaged";
        else if (report->rc == ERR_NOTFOUND)
            rebuild = "the index was missing";
        else if (report->rc < 0)
            rebuild = "the index could not be read or corrected";
    }
    if (rebuild) {
        memset(report, 0, sizeof(*report));
        int rc = recover_fork(plan, RECOVER_REBUILD, mark->lock_fd, report);
        if (rc == 0)
            rc = report->rc;
        if (rc < 0)
            return recover_refusal(plan, rc, why);
    }
    /* A store that is being made has nothing that could have been lost. */
    found->index_rebuilt = rebuild && !mark->fresh;
    found->rebuilt_why = found->index_rebuilt ? rebuild : NULL;
    found->orphans_indexed = report->orphans_indexed;
    found->entries_dropped = report->entries_dropped;
    found->garbage_removed = report->garbage_removed;
    return 0;
}
