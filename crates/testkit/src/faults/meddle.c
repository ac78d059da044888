/* Stands between a program and the disk: runs it with a seccomp filter that asks this process before every system call
 * that changes files, and has the Nth of them, counted over all threads and processes, fail, killed, or preceded by a
 * command.
 *
 * meddle [-u FOLDER]... [-l LOG] [-c CALLS] [-m TEXT] [-n N] [-e ERRNO [-f]] [-k] [-r COMMAND] -- PROGRAM ARGUMENT...
 *   -u  only calls on files below FOLDER count (all do without)
 *   -l  a line for each: number, name, path, second path, separated by tabs
 *   -c  only these calls, as "write,rename"; also "read", which is not asked for otherwise
 *   -m  only when a path holds TEXT
 *   -n  which one is meant; 0 is every one
 *   -e  it fails with this error; -f: and so do all after it
 *   -k  the program is killed instead
 *   -r  this is executed by sh before it
 * Ends as the program does. Nothing of it may be left: it waits for all processes that were started below it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the path is: an open file (F), a string below the working folder (S), a string below an open folder (A). */
enum where { NONE, F, S, A };
struct call {
    int number;
    const char *name;
    enum where first;
    int first_at;
    enum where second;
    int second_at;
};

static const struct call CALLS[] = {
    {SYS_write, "write", F, 0, NONE, 0},
    {SYS_pwrite64, "pwrite64", F, 0, NONE, 0},
    {SYS_writev, "writev", F, 0, NONE, 0},
    {SYS_pwritev, "pwritev", F, 0, NONE, 0},
    {SYS_pwritev2, "pwritev2", F, 0, NONE, 0},
    {SYS_copy_file_range, "copy_file_range", F, 2, NONE, 0},
    {SYS_sendfile, "sendfile", F, 0, NONE, 0},
    {SYS_splice, "splice", F, 2, NONE, 0},
    {SYS_fsync, "fsync", F, 0, NONE, 0},
    {SYS_fdatasync, "fdatasync", F, 0, NONE, 0},
    {SYS_syncfs, "syncfs", F, 0, NONE, 0},
    {SYS_sync_file_range, "sync_file_range", F, 0, NONE, 0},
    {SYS_ftruncate, "ftruncate", F, 0, NONE, 0},
    {SYS_fallocate, "fallocate", F, 0, NONE, 0},
    {SYS_ioctl, "ficlone", F, 0, NONE, 0},
    {SYS_fchmod, "fchmod", F, 0, NONE, 0},
    {SYS_fchmodat, "fchmodat", A, 0, NONE, 0},
    {SYS_fchown, "fchown", F, 0, NONE, 0},
    {SYS_fchownat, "fchownat", A, 0, NONE, 0},
    {SYS_utimensat, "utimensat", A, 0, NONE, 0},
    {SYS_fsetxattr, "fsetxattr", F, 0, NONE, 0},
    {SYS_setxattr, "setxattr", S, 0, NONE, 0},
    {SYS_lsetxattr, "lsetxattr", S, 0, NONE, 0},
    {SYS_openat, "openat", A, 0, NONE, 0},
    {SYS_openat2, "openat2", A, 0, NONE, 0},
    {SYS_mkdirat, "mkdirat", A, 0, NONE, 0},
    {SYS_mknodat, "mknodat", A, 0, NONE, 0},
    {SYS_symlinkat, "symlinkat", A, 1, NONE, 0},
    {SYS_linkat, "linkat", A, 0, A, 2},
    {SYS_renameat2, "renameat2", A, 0, A, 2},
    {SYS_unlinkat, "unlinkat", A, 0, NONE, 0},
    {SYS_truncate, "truncate", S, 0, NONE, 0},
    {SYS_read, "read", F, 0, NONE, 0},
    {SYS_pread64, "pread64", F, 0, NONE, 0},
#ifdef SYS_renameat
    {SYS_renameat, "renameat", A, 0, A, 2},
#endif
#ifdef SYS_open
    {SYS_open, "open", S, 0, NONE, 0},
    {SYS_creat, "creat", S, 0, NONE, 0},
    {SYS_mkdir, "mkdir", S, 0, NONE, 0},
    {SYS_mknod, "mknod", S, 0, NONE, 0},
    {SYS_symlink, "symlink", S, 1, NONE, 0},
    {SYS_link, "link", S, 0, S, 1},
    {SYS_rename, "rename", S, 0, S, 1},
    {SYS_unlink, "unlink", S, 0, NONE, 0},
    {SYS_rmdir, "rmdir", S, 0, NONE, 0},
    {SYS_chmod, "chmod", S, 0, NONE, 0},
    {SYS_chown, "chown", S, 0, NONE, 0},
    {SYS_lchown, "lchown", S, 0, NONE, 0},
#endif
};
enum { COUNT = sizeof CALLS / sizeof *CALLS };

static const char *under[8], *calls, *text, *command, *log_path;
static int unders, error, from_then_on, kills;
static long nth = -1, seen;
static FILE *log_file;
static pid_t program;

static void die(const char *what) {
    perror(what);
    exit(99);
}

static int wanted(const char *name) {
    size_t length = strlen(name);
    const char *at = calls;
    if (!at) return strcmp(name, "read") && strcmp(name, "pread64");
    while ((at = strstr(at, name))) {
        if ((at == calls || at[-1] == ',') && (at[length] == 0 || at[length] == ',')) return 1;
        at += length;
    }
    return 0;
}

static int install(void) {
    struct sock_filter filter[COUNT * 2 + 2];
    int used = 0;
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < COUNT; i++) {
        if (!wanted(CALLS[i].name)) continue;
        filter[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].number, 0, 1);
        filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog fprog = {.len = used, .filter = filter};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &fprog);
}

static int of_memory(pid_t pid, uint64_t address, void *into, size_t length) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/mem", pid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t got = pread(fd, into, length, address);
    if (got < 0) /* The end of a mapping. */
        got = pread(fd, into, 4096 - address % 4096 < length ? 4096 - address % 4096 : length, address);
    close(fd);
    return got > 0;
}

static void of_descriptor(pid_t pid, int fd, char *path, size_t length) {
    char name[64];
    if (fd == AT_FDCWD) snprintf(name, sizeof name, "/proc/%d/cwd", pid);
    else snprintf(name, sizeof name, "/proc/%d/fd/%d", pid, fd);
    ssize_t got = readlink(name, path, length - 1);
    path[got < 0 ? 0 : got] = 0;
}

static void path_of(const struct seccomp_notif *asked, enum where where, int at, char *path) {
    char string[4096] = "";
    path[0] = 0;
    if (where == NONE) return;
    if (where == F) return of_descriptor(asked->pid, (int)asked->data.args[at], path, 4096);
    uint64_t address = asked->data.args[where == A ? at + 1 : at];
    if (address && !of_memory(asked->pid, address, string, sizeof string - 1)) return;
    if (string[0] != '/') {
        of_descriptor(asked->pid, where == A ? (int)asked->data.args[at] : AT_FDCWD, path, 4096);
        if (string[0]) strncat(path, "/", 2);
    }
    strncat(path, string, 4000);
}

static int below(const char *path) {
    for (int i = 0; i < unders; i++) {
        size_t length = strlen(under[i]);
        if (!strncmp(path, under[i], length) && (path[length] == '/' || path[length] == 0)) return 1;
    }
    return unders == 0;
}

/* An open that makes nothing, and an ioctl that copies nothing, change nothing. */
static int changes(const struct seccomp_notif *asked) {
    uint64_t flags = 0;
    if (asked->data.nr == SYS_openat) flags = asked->data.args[2];
#ifdef SYS_open
    else if (asked->data.nr == SYS_open) flags = asked->data.args[1];
#endif
    else if (asked->data.nr == SYS_openat2) of_memory(asked->pid, asked->data.args[2], &flags, sizeof flags);
    else if (asked->data.nr == SYS_ioctl) return asked->data.args[1] == FICLONE || asked->data.args[1] == FICLONERANGE;
    else return 1;
    return (flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE;
}

static void answer(int fd, const struct seccomp_notif *asked) {
    struct seccomp_notif_resp resp = {.id = asked->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    static char first[8192], second[8192];
    const struct call *call = NULL;
    for (int i = 0; i < COUNT; i++)
        if (CALLS[i].number == asked->data.nr) call = &CALLS[i];
    first[0] = second[0] = 0;
    if (call && changes(asked)) {
        path_of(asked, call->first, call->first_at, first);
        path_of(asked, call->second, call->second_at, second);
    }
    int counts = (first[0] && below(first)) || (second[0] && below(second));
    if (counts && text && !strstr(first, text) && !strstr(second, text)) counts = 0;
    if (counts) {
        seen++;
        if (log_file) fprintf(log_file, "%ld\t%s\t%s\t%s\n", seen, call->name, first, second), fflush(log_file);
        int meant = nth == 0 || seen == nth || (from_then_on && nth > 0 && seen > nth);
        if (meant && error) resp.flags = 0, resp.error = -error;
        if (meant && command && system(command)) die(command);
        if (meant && kills) kill(program, SIGKILL);
    }
    ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

static void serve(int fd) {
    struct seccomp_notif_sizes sizes;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes)) die("seccomp");
    struct seccomp_notif *asked = malloc(sizes.seccomp_notif + sizeof *asked);
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        if (poll(&poll_fd, 1, -1) < 0) continue;
        if (!(poll_fd.revents & POLLIN)) break; /* Nobody is left. */
        memset(asked, 0, sizes.seccomp_notif + sizeof *asked);
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, asked) == 0) answer(fd, asked);
    }
    free(asked);
}

static int start(char **argv) {
    volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    program = fork();
    if (program < 0) die("fork");
    if (program == 0) {
        int fd = install();
        *shared = fd < 0 ? -1 : fd + 1;
        if (fd < 0) die("seccomp");
        while (*shared != -2) usleep(100);
        execvp(argv[0], argv);
        _exit(127);
    }
    while (*shared == 0) usleep(100);
    if (*shared < 0) exit(99);
    int pidfd = syscall(SYS_pidfd_open, program, 0);
    int fd = syscall(SYS_pidfd_getfd, pidfd, *shared - 1, 0);
    if (fd < 0) die("pidfd_getfd");
    close(pidfd);
    *shared = -2;
    return fd;
}

int main(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "+u:l:c:m:n:e:fkr:")) != -1;) switch (option) {
        case 'u': if (unders < 8) under[unders++] = optarg; break;
        case 'l': log_path = optarg; break;
        case 'c': calls = optarg; break;
        case 'm': text = optarg; break;
        case 'n': nth = atol(optarg); break;
        case 'e': error = atoi(optarg); break;
        case 'f': from_then_on = 1; break;
        case 'k': kills = 1; break;
        case 'r': command = optarg; break;
        default: return 99;
        }
    if (log_path && !(log_file = fopen(log_path, "we"))) die(log_path);
    serve(start(argv + optind));
    int status = 0;
    if (waitpid(program, &status, 0) < 0) die("waitpid");
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        kill(getpid(), WTERMSIG(status));
    }
    return WEXITSTATUS(status);
}
