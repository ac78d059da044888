// What a program in a sandbox may try in order to leave it, one attempt after the other, and what it may hope to find outside.
//
//   attempts try CANARY TEXT VICTIM PORT DISK [host-network]   inside: one line for each attempt
//   attempts victim TEXT FOLDER                                outside: stands there to be found, and tells what it noticed
//
// Each attempt is a process of its own. The third column is what came of it: the name of an error, "done", or "nothing" when the
// call works as it should but leads nowhere. Nothing here would harm a machine on which it succeeded: what cannot be tried
// without harm is called with arguments that the kernel would refuse with another error (seccomp/tests.rs asks the filter).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mqueue.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <syscall.h>
#include <termios.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/fs.h>

enum { NOTHING = 250, CALL_SECONDS = 10 };

static const char *canary, *text;
static pid_t victim;
static int port, host_network, number_of_names;
static dev_t disk;

// ---- the frame

static int error_of(long result) { return result < 0 ? errno : 0; }

static const char *name_of(int status) {
  static char number[32];
  if (WIFSIGNALED(status)) return snprintf(number, sizeof number, "signal-%d", WTERMSIG(status)), number;
  int code = WEXITSTATUS(status);
  if (code == 0) return "done";
  if (code == NOTHING) return "nothing";
  const char *name = strerrorname_np(code);
  return name ? name : (snprintf(number, sizeof number, "%d", code), number);
}

// Whether one of the words between bars is this one.
static int among(const char *words, const char *word) {
  size_t length = strlen(word);
  for (const char *at = words; at; at = strchr(at, '|'), at += at != NULL)
    if (!strncmp(at, word, length) && (at[length] == '|' || !at[length])) return 1;
  return 0;
}

// In the parent: waits for the attempt and tells of it. In the child: zero.
static int attempted(const char *kind, const char *name, const char *expected) {
  fflush(stdout);
  pid_t child = fork();
  if (!child) {
    alarm(CALL_SECONDS);
    return 0;
  }
  int status;
  waitpid(child, &status, 0);
  const char *result = name_of(status);
  int done = !strcmp(result, "done"), known = among(expected, result);
  const char *word = known ? (done ? "allowed" : "refused") : (done ? "ESCAPED" : "UNEXPECTED");
  printf("%s\t%s\t%s\t%s\n", kind, name, result, word);
  number_of_names++;
  return 1;
}

// One attempt: it ends with the error of the expression.
#define TRY(kind, name, expected, ...) \
  if (!attempted(kind, name, expected)) _exit(({ __VA_ARGS__; }))
#define CALL(...) error_of(syscall(__VA_ARGS__))

#ifdef __x86_64__
// The same machine's other door: a call by its number on i386. None of these calls gets a pointer.
static int call_i386(int number, unsigned a, unsigned b, unsigned c) {
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  return result < 0 ? -result : 0;
}
#endif

// ---- what is looked for

// Whether this is the file of outside, by any way that leads there.
static int is_canary(const char *path) {
  char found[256];
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  struct stat stat;
  // A pipe would be the own output, which is not to be taken away.
  if (file < 0 || fstat(file, &stat) < 0 || !S_ISREG(stat.st_mode)) return 0;
  ssize_t length = read(file, found, sizeof found - 1);
  close(file);
  found[length > 0 ? length : 0] = 0;
  return length > 0 && strstr(found, text) != NULL;
}

// Looks below a directory that may be outside.
static int look_below(const char *directory) {
  char path[8192];
  snprintf(path, sizeof path, "%s%s", directory, canary);
  if (is_canary(path)) return 1;
  snprintf(path, sizeof path, "%s/../../../../../../../../../../../..%s", directory, canary);
  return is_canary(path);
}

// Looks through a link of every process that can be seen, or through all links of a directory of it.
static int look_through(const char *name, int is_directory) {
  DIR *processes = opendir("/proc");
  for (struct dirent *process; processes && (process = readdir(processes));) {
    if (process->d_name[0] < '0' || process->d_name[0] > '9') continue;
    char path[600], below[1200];
    snprintf(path, sizeof path, "/proc/%s/%s", process->d_name, name);
    if (!is_directory) {
      if (look_below(path)) return 0;
      continue;
    }
    DIR *links = opendir(path);
    for (struct dirent *link; links && (link = readdir(links));) {
      if (link->d_name[0] == '.') continue;
      snprintf(below, sizeof below, "%s/%s", path, link->d_name);
      if (look_below(below) || is_canary(below)) return 0;
    }
    if (links) closedir(links);
  }
  return NOTHING;
}

static int leave_chroot(void) {
  int before = open("/", O_RDONLY | O_DIRECTORY);
  char jail[] = "/tmp/jail-XXXXXX";
  if (!mkdtemp(jail) || chroot(jail) < 0) return errno;
  if (fchdir(before) < 0) return errno;
  for (int level = 0; level < 64; level++) chdir("..");
  if (chroot(".") < 0) return errno;
  return is_canary(canary) ? 0 : NOTHING;
}

// Descriptors that nobody meant to give.
static int inherited(void) {
  for (int number = 3; number < 1024; number++)
    if (fcntl(number, F_GETFD) >= 0) return 0;
  for (int number = 0; number < 3; number++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", number);
    if (look_below(path) || openat(number, "..", O_PATH) >= 0) return 0;
  }
  return NOTHING;
}

static int may_write(const char *path) {
  int file = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return errno;
  close(file);
  return 0;
}

// What everybody may write on any machine, and what only concerns the process or its own network.
static const char *const HARMLESS[] = {"/proc/pressure/", "/proc/self", "/proc/thread-self", "/proc/net/", "/proc/mtrr", NULL};

static int see_file(const char *path, const struct stat *stat, int kind, struct FTW *ftw) {
  (void)ftw;
  if (path[6] >= '0' && path[6] <= '9' && !strncmp(path, "/proc/", 6)) return kind == FTW_D ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
  for (int at = 0; HARMLESS[at]; at++)
    if (!strncmp(path, HARMLESS[at], strlen(HARMLESS[at]))) return kind == FTW_D ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
  // Root may open what has no permission for anybody to write, and then finds that there is nothing that takes it.
  if (kind != FTW_F || !S_ISREG(stat->st_mode) || !(stat->st_mode & 0222) || may_write(path) != 0) return FTW_CONTINUE;
  printf("writable\t%s\n", path);
  return FTW_STOP;
}

// Any file of the kernel that concerns others and can be opened for writing.
static int write_kernel_files(const char *top) {
  int found = nftw(top, see_file, 16, FTW_PHYS | FTW_ACTIONRETVAL);
  fflush(stdout);
  return found == FTW_STOP ? 0 : NOTHING;
}

// The kernel's names with addresses; without the right there are zeroes.
static int addresses(void) {
  FILE *file = fopen("/proc/kallsyms", "r");
  unsigned long address = 0;
  if (!file) return errno;
  while (!address && fscanf(file, "%lx %*[^\n]", &address) == 1) {}
  return address ? 0 : NOTHING;
}

static int reads(const char *path) {
  char found[64]; // some files are read in words only
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return errno;
  ssize_t length = read(file, found, sizeof found);
  return length < 0 ? errno : length == 0 ? NOTHING : 0;
}

// A device that is made here and opened.
static int device(const char *folder, mode_t kind, dev_t number) {
  char path[256];
  snprintf(path, sizeof path, "%s/galley-escape-device", folder);
  unlink(path);
  if (mknod(path, kind | 0666, number) < 0) return errno;
  int waiting, file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), error = errno;
  unlink(path);
  if (file < 0) return error;
  // With one id an empty file stands in for it, and `stat` says otherwise. This is answered for files, and for terminals.
  return ioctl(file, FIONREAD, &waiting) == 0 && !isatty(file) ? NOTHING : 0;
}

static int any_block_device(void) {
  DIR *devices = opendir("/dev");
  for (struct dirent *entry; devices && (entry = readdir(devices));) {
    struct stat stat;
    if (fstatat(dirfd(devices), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISBLK(stat.st_mode)) return 0;
  }
  return NOTHING;
}

static int answers(int family, const void *address, socklen_t length) {
  char found[256] = "";
  int socket_ = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval limit = {1, 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(socket_, address, length) < 0) return errno;
  if (read(socket_, found, sizeof found - 1) <= 0) return NOTHING;
  return strstr(found, text) ? 0 : NOTHING;
}

static int tcp(const char *host) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) return answers(AF_INET, &v4, sizeof v4);
  inet_pton(AF_INET6, host, &v6.sin6_addr);
  return answers(AF_INET6, &v6, sizeof v6);
}

// The machine that packets to elsewhere are given to: with user-mode networks it is often the host.
static int gateway(void) {
  char line[512], found[INET_ADDRSTRLEN];
  unsigned destination, address;
  FILE *routes = fopen("/proc/net/route", "r");
  while (routes && fgets(line, sizeof line, routes))
    if (sscanf(line, "%*s %x %x", &destination, &address) == 2 && !destination)
      return tcp(inet_ntop(AF_INET, &address, found, sizeof found));
  return NOTHING;
}

static int abstract_socket(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", text);
  return answers(AF_UNIX, &address, offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

static int loopback_down(void) {
  struct ifreq request = {.ifr_name = "lo"};
  int any = socket(AF_INET, SOCK_DGRAM, 0);
  ioctl(any, SIOCGIFFLAGS, &request);
  // What it is already: nothing changes where this is allowed.
  return error_of(ioctl(any, SIOCSIFFLAGS, &request));
}

static key_t ipc_key(void) {
  key_t key = 0x6a11e;
  for (const char *at = text; *at; at++) key = key * 31 + *at;
  return key & 0x7fffffff;
}

static int push_input(const char *terminal) {
  int file = terminal ? open(terminal, O_RDWR | O_NOCTTY | O_NONBLOCK) : 0;
  return file < 0 ? errno : error_of(ioctl(file, TIOCSTI, "#"));
}

static int gain(int capability) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {0};
  data[capability / 32].permitted = data[capability / 32].effective = 1u << capability % 32;
  return CALL(SYS_capset, &header, data);
}

static int lift_limit(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max == RLIM_INFINITY) return NOTHING;
  limit.rlim_max++;
  return error_of(setrlimit(RLIMIT_NOFILE, &limit));
}

static int write_to(const char *path, const char *value) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  return file < 0 ? errno : error_of(write(file, value, strlen(value)));
}

static int set_clock(void) {
  struct timex time = {0};
  adjtimex(&time);
  time.modes = ADJ_STATUS;
  return error_of(adjtimex(&time));
}

static int freeze(void) {
  // A file system in memory cannot be frozen: where the right is there, the error is another one.
  return error_of(ioctl(open("/dev/shm", O_RDONLY), FIFREEZE, 0));
}

static int immutable(void) {
  char path[] = "/tmp/immutable-XXXXXX";
  int flags = 0, file = mkstemp(path);
  if (ioctl(file, FS_IOC_GETFLAGS, &flags) < 0) return errno;
  flags |= FS_IMMUTABLE_FL;
  if (ioctl(file, FS_IOC_SETFLAGS, &flags) < 0) return errno;
  flags &= ~FS_IMMUTABLE_FL;
  ioctl(file, FS_IOC_SETFLAGS, &flags);
  return 0;
}

static int clone_with(long flags) {
  long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
  if (!child) _exit(0);
  return error_of(child);
}

static int read_memory(void) {
  char found[64];
  struct iovec here = {found, sizeof found}, there = {(void *)&text, sizeof found};
  return error_of(process_vm_readv(victim, &here, 1, &there, 1, 0));
}

// ---- the attempts

static void mounts(void) {
  const char *no = "EPERM";
  TRY("mounts", "a file system in memory", no, error_of(mount("none", "/tmp", "tmpfs", 0, NULL)));
  TRY("mounts", "another /proc", no, error_of(mount("proc", "/tmp", "proc", 0, NULL)));
  TRY("mounts", "the cgroup hierarchy", no, error_of(mount("cgroup", "/tmp", "cgroup", 0, "rdma")));
  TRY("mounts", "debugfs", no, error_of(mount("debugfs", "/tmp", "debugfs", 0, NULL)));
  TRY("mounts", "bind /", no, error_of(mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL)));
  TRY("mounts", "bind /proc/1/root", no, error_of(mount("/proc/1/root", "/tmp", NULL, MS_BIND, NULL)));
  TRY("mounts", "/proc/sys writable", no, error_of(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL)));
  TRY("mounts", "/sys writable", no, error_of(mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL)));
  TRY("mounts", "/ with devices", no, error_of(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL)));
  TRY("mounts", "move /proc", no, error_of(mount("/proc", "/tmp", NULL, MS_MOVE, NULL)));
  TRY("mounts", "share with the host", no, error_of(mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL)));
  TRY("mounts", "uncover /proc/kcore", no, error_of(umount2("/proc/kcore", MNT_DETACH)));
  TRY("mounts", "uncover /proc/sys", no, error_of(umount2("/proc/sys", MNT_DETACH)));
  TRY("mounts", "uncover /", no, error_of(umount2("/", MNT_DETACH)));
  TRY("mounts", "pivot_root", no, CALL(SYS_pivot_root, "/tmp", "/tmp"));
  TRY("mounts", "fsopen", no, CALL(SYS_fsopen, "tmpfs", 0));
  TRY("mounts", "fspick", no, CALL(SYS_fspick, AT_FDCWD, "/proc", 0));
  TRY("mounts", "fsconfig", no, CALL(SYS_fsconfig, 0, 0, "", "", 0));
  TRY("mounts", "fsmount", no, CALL(SYS_fsmount, 0, 0, 0));
  TRY("mounts", "open_tree", no, CALL(SYS_open_tree, AT_FDCWD, "/", 1));
  TRY("mounts", "move_mount", no, CALL(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0));
  TRY("mounts", "mount_setattr", no, CALL(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, "", 32));
#ifdef __x86_64__
  TRY("mounts", "mount of i386", no, call_i386(21, 0, 0, 0));
  TRY("mounts", "umount of i386", no, call_i386(22, 0, 0, 0));
  TRY("mounts", "mount of x32", "ENOSYS", CALL(0x40000000 + SYS_mount, 0, 0, 0, 0, 0));
#endif
}

static void namespaces(void) {
  static const struct { const char *name; long flag; } KINDS[] = {
      {"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"network", CLONE_NEWNET},
      {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS},  {"cgroup", CLONE_NEWCGROUP}};
  for (size_t at = 0; at < sizeof KINDS / sizeof *KINDS; at++) {
    char name[64];
    snprintf(name, sizeof name, "unshare %s", KINDS[at].name);
    TRY("namespaces", name, "EPERM", CALL(SYS_unshare, KINDS[at].flag));
    snprintf(name, sizeof name, "clone %s", KINDS[at].name);
    TRY("namespaces", name, "EPERM", clone_with(KINDS[at].flag));
  }
  TRY("namespaces", "clone3", "ENOSYS", CALL(SYS_clone3, NULL, 0));
  TRY("namespaces", "setns of process 1", "EPERM", CALL(SYS_setns, open("/proc/1/ns/mnt", O_RDONLY), 0));
  TRY("namespaces", "setns of outside", "EPERM", CALL(SYS_setns, syscall(SYS_pidfd_open, victim, 0), CLONE_NEWNS));
  TRY("namespaces", "uid_map", "EPERM|EACCES", write_to("/proc/self/uid_map", "0 0 1"));
  TRY("namespaces", "name of the host", "EPERM", error_of(sethostname("escaped", 7)));
  TRY("namespaces", "domain of the host", "EPERM", error_of(setdomainname("escaped", 7)));
#ifdef __x86_64__
  TRY("namespaces", "unshare of i386", "EPERM", call_i386(310, CLONE_NEWUSER, 0, 0));
  TRY("namespaces", "clone of i386", "EPERM", call_i386(120, CLONE_NEWUSER | SIGCHLD, 0, 0));
  TRY("namespaces", "clone3 of i386", "ENOSYS", call_i386(435, 0, 0, 0));
#endif
}

static void proc(void) {
  TRY("proc", "root of any process", "nothing", look_through("root", 0));
  TRY("proc", "folder of any process", "nothing", look_through("cwd", 0));
  TRY("proc", "files of any process", "nothing", look_through("fd", 1));
  TRY("proc", "maps of any process", "nothing", look_through("map_files", 1));
  TRY("proc", "root of the process outside", "nothing", ({
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/root", victim);
        look_below(path) ? 0 : NOTHING;
      }));
  static const char *const SETTINGS[] = {
      "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/kernel/sysrq",
      "/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/hostname",
      "/proc/sys/kernel/usermodehelper/bset", "/proc/sys/vm/drop_caches", "/proc/sys/vm/overcommit_memory",
      "/proc/sys/vm/panic_on_oom", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/fs/suid_dumpable",
      "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/bus/pci/00/00.0",
      "/proc/scsi/scsi", "/proc/acpi/wakeup", "/proc/kcore", "/proc/timer_list", "/sys/kernel/uevent_helper",
      "/sys/power/state", "/sys/kernel/mm/ksm/run", "/sys/module/kernel/parameters/panic", "/sys/kernel/uevent_seqnum",
      "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/release_agent",
      "/sys/fs/cgroup/unified/cgroup.procs", "/proc/dynamic_debug/control", NULL};
  for (int at = 0; SETTINGS[at]; at++) {
    char name[128];
    snprintf(name, sizeof name, "write %s", SETTINGS[at]);
    // What is covered is /dev/null, read-only; it may be opened for writing where it is the host's own.
    TRY("proc", name, "EROFS|EACCES|ENOENT|EPERM|nothing", ({
          struct stat stat_;
          int covered = stat(SETTINGS[at], &stat_) == 0 && S_ISCHR(stat_.st_mode);
          covered ? NOTHING : may_write(SETTINGS[at]);
        }));
  }
  TRY("proc", "write any file of /proc", "nothing", write_kernel_files("/proc"));
  TRY("proc", "write any file of /sys", "nothing", write_kernel_files("/sys"));
  TRY("proc", "memory of the kernel", "nothing|EPERM|EACCES|ENOENT", reads("/proc/kcore"));
  TRY("proc", "addresses of the kernel", "nothing|EPERM|EACCES|ENOENT", addresses());
  TRY("proc", "messages of the kernel", "EPERM|EACCES|ENOENT", reads("/proc/kmsg"));
  TRY("proc", "pages of the machine", "nothing|EPERM|EACCES|ENOENT", reads("/proc/kpagecgroup"));
  TRY("proc", "keys of others", "nothing|EPERM|EACCES|ENOENT", reads("/proc/keys"));
  TRY("proc", "timers of others", "nothing|EPERM|EACCES|ENOENT", reads("/proc/timer_list"));
  TRY("proc", "firmware", "ENOENT|EACCES|EPERM", reads("/sys/firmware/dmi/tables/DMI"));
  TRY("proc", "spared by the kernel when memory is short", "EACCES|EPERM", write_to("/proc/self/oom_score_adj", "-1000"));
  TRY("proc", "a cgroup", "EROFS|ENOENT|EACCES|EPERM", error_of(mkdir("/sys/fs/cgroup/escape", 0700)));
}

static void processes(void) {
  struct rlimit64 limit = {1, 1};
  cpu_set_t processors;
  CPU_ZERO(&processors);
  CPU_SET(0, &processors);
  const char *none = "ESRCH|EINVAL";
  TRY("processes", "kill", none, error_of(kill(victim, SIGUSR1)));
  TRY("processes", "kill the group", none, error_of(kill(-victim, SIGUSR1)));
  TRY("processes", "tgkill", none, CALL(SYS_tgkill, victim, victim, SIGUSR1));
  TRY("processes", "queue a signal", none, ({ union sigval value = {0}; error_of(sigqueue(victim, SIGUSR1, value)); }));
  TRY("processes", "the parent of process 1", none, ({
        int parent = -1;
        FILE *file = fopen("/proc/1/stat", "r");
        if (file) fscanf(file, "%*d (%*[^)]) %*c %d", &parent);
        parent == 0 ? ESRCH : 0;
      }));
  TRY("processes", "all there are", "nothing|ESRCH", ({ kill(-1, SIGUSR1) ? errno : NOTHING; }));
  TRY("processes", "ptrace", "ESRCH|EPERM", error_of(ptrace(PTRACE_SEIZE, victim, 0, 0)));
  TRY("processes", "read memory", "ESRCH|EPERM", read_memory());
  TRY("processes", "a file for it", none, CALL(SYS_pidfd_open, victim, 0));
  TRY("processes", "its open files", "EPERM", CALL(SYS_pidfd_getfd, syscall(SYS_pidfd_open, 1, 0), 0, 0));
  TRY("processes", "compare", "EPERM", CALL(SYS_kcmp, victim, getpid(), 0, 0, 0));
  TRY("processes", "limits", "ESRCH|EPERM", CALL(SYS_prlimit64, victim, RLIMIT_CORE, &limit, NULL));
  TRY("processes", "priority", "ESRCH", error_of(setpriority(PRIO_PROCESS, victim, 19)));
  TRY("processes", "processors", "ESRCH", error_of(sched_setaffinity(victim, sizeof processors, &processors)));
  TRY("processes", "pages", "EPERM", CALL(SYS_move_pages, victim, 0, 0, 0, 0, 0));
  TRY("processes", "move pages", "EPERM", CALL(SYS_migrate_pages, victim, 0, 0, 0));
  TRY("processes", "advice", "EPERM", CALL(SYS_process_madvise, 0, 0, 0, 0, 0));
}

static void rights(void) {
  TRY("rights", "raise CAP_SYS_ADMIN", "EPERM", gain(CAP_SYS_ADMIN));
  TRY("rights", "raise CAP_SYS_PTRACE", "EPERM", gain(CAP_SYS_PTRACE));
  TRY("rights", "ambient CAP_SYS_ADMIN", "EPERM", error_of(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0)));
  TRY("rights", "higher limit", "EPERM|nothing", lift_limit());
  TRY("rights", "higher priority", "EACCES|EPERM", error_of(setpriority(PRIO_PROCESS, 0, -20)));
  TRY("rights", "real time", "EPERM", ({ struct sched_param param = {1}; error_of(sched_setscheduler(0, SCHED_FIFO, &param)); }));
  TRY("rights", "real time of the disk", "EPERM", CALL(SYS_ioprio_set, 1, 0, 1 << 13));
  TRY("rights", "personality without protection", "EPERM", error_of(personality(ADDR_NO_RANDOMIZE)));
  TRY("rights", "an attribute of overlayfs", "EPERM", error_of(setxattr("/tmp", "trusted.overlay.opaque", "y", 1, 0)));
  TRY("rights", "a whiteout", "EPERM|EACCES", error_of(mknod("/whiteout", S_IFCHR, 0)));
  TRY("rights", "an immutable file", "EPERM|ENOTTY|EOPNOTSUPP|EACCES", immutable());
  TRY("rights", "freeze a file system", "EPERM", freeze());
  TRY("rights", "file by handle", "EPERM", CALL(SYS_open_by_handle_at, AT_FDCWD, "", 0));
}

static void keys(void) {
  TRY("keys", "add_key", "EPERM", CALL(SYS_add_key, "user", text, "x", 1, -4));
  TRY("keys", "request_key", "EPERM", CALL(SYS_request_key, "user", text, NULL, 0));
  TRY("keys", "keyctl", "EPERM", CALL(SYS_keyctl, 0, -3, 0));
#ifdef __x86_64__
  TRY("keys", "add_key of i386", "EPERM", call_i386(286, 0, 0, 0));
  TRY("keys", "request_key of i386", "EPERM", call_i386(287, 0, 0, 0));
  TRY("keys", "keyctl of i386", "EPERM", call_i386(288, 0, (unsigned)-3, 0));
#endif
}

static void devices(void) {
  static const char *const FOLDERS[] = {"", "/dev", "/dev/shm", "/tmp", NULL};
  static const struct { const char *name; mode_t kind; int major, minor; } DEVICES[] = {
      {"the disk", S_IFBLK, -1, 0}, {"memory", S_IFCHR, 1, 1},   {"ports", S_IFCHR, 1, 4},   {"kmsg", S_IFCHR, 1, 11},
      {"loop0", S_IFBLK, 7, 0},     {"loops", S_IFCHR, 10, 237}, {"kvm", S_IFCHR, 10, 232},  {"fuse", S_IFCHR, 10, 229},
      {"tun", S_IFCHR, 10, 200},    {"console", S_IFCHR, 5, 1},  {"terminal", S_IFCHR, 4, 0}};
  for (int folder = 0; FOLDERS[folder]; folder++)
    for (size_t at = 0; at < sizeof DEVICES / sizeof *DEVICES; at++) {
      char name[64];
      snprintf(name, sizeof name, "%s in %s/", DEVICES[at].name, FOLDERS[folder]);
      dev_t number = DEVICES[at].major < 0 ? disk : makedev(DEVICES[at].major, DEVICES[at].minor);
      TRY("devices", name, "EACCES|EPERM|nothing", device(FOLDERS[folder], DEVICES[at].kind, number));
    }
  TRY("devices", "a disk of /dev", "nothing", any_block_device());
#ifdef __x86_64__
  TRY("devices", "iopl", "EPERM|ENOSYS", CALL(SYS_iopl, 3));
  TRY("devices", "ioperm", "EPERM|ENOSYS", CALL(SYS_ioperm, 0x70, 1, 1));
#endif
  TRY("devices", "type for the person", "ENOTTY|EPERM|EIO|ENODEV", push_input(NULL));
  TRY("devices", "type at /dev/tty", "ENXIO|EIO|EPERM", push_input("/dev/tty"));
  TRY("devices", "type at /dev/console", "ENOENT|EIO|EPERM", push_input("/dev/console"));
  TRY("devices", "the machine's screen", "ENOTTY|EPERM", error_of(ioctl(0, TIOCLINUX, "\2")));
}

static void kernel(void) {
  const char *no = "EPERM";
  TRY("kernel", "init_module", no, CALL(SYS_init_module, NULL, 0, ""));
  TRY("kernel", "finit_module", no, CALL(SYS_finit_module, -1, "", 0));
  TRY("kernel", "delete_module", no, CALL(SYS_delete_module, "galley-no-such-module", 0));
  TRY("kernel", "kexec_load", no, CALL(SYS_kexec_load, 0, 0, NULL, 0xffff));
  TRY("kernel", "kexec_file_load", no, CALL(SYS_kexec_file_load, -1, -1, 0, NULL, 0xffff));
  TRY("kernel", "reboot", no, CALL(SYS_reboot, 1, 2, 3, NULL));
  TRY("kernel", "swapon", no, CALL(SYS_swapon, "/nowhere", 0));
  TRY("kernel", "swapoff", no, CALL(SYS_swapoff, "/nowhere"));
  TRY("kernel", "acct", no, CALL(SYS_acct, "/nowhere/at/all"));
  TRY("kernel", "quotactl", no, CALL(SYS_quotactl, 0xffff, NULL, 0, NULL));
  TRY("kernel", "bpf", no, CALL(SYS_bpf, 0xffff, NULL, 0));
  TRY("kernel", "perf_event_open", no, CALL(SYS_perf_event_open, NULL, 0, -1, -1, 0));
  TRY("kernel", "userfaultfd", no, CALL(SYS_userfaultfd, 0xffff));
  TRY("kernel", "io_uring_setup", no, CALL(SYS_io_uring_setup, 0, NULL));
  TRY("kernel", "io_uring_enter", no, CALL(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0));
  TRY("kernel", "settimeofday", no, CALL(SYS_settimeofday, NULL, NULL));
  TRY("kernel", "clock_settime", no, CALL(SYS_clock_settime, 77, NULL));
  TRY("kernel", "adjtimex", no, set_clock());
  TRY("kernel", "syslog", no, CALL(SYS_syslog, 3, NULL, 0));
  TRY("kernel", "vhangup", no, CALL(SYS_vhangup));
  TRY("kernel", "fanotify_init", no, CALL(SYS_fanotify_init, 0xffff, 0));
  TRY("kernel", "lookup_dcookie", no, CALL(SYS_lookup_dcookie, 0, NULL, 0));
  TRY("kernel", "nfsservctl", no, CALL(SYS_nfsservctl, 0, NULL, NULL));
  TRY("kernel", "set_mempolicy", no, CALL(SYS_set_mempolicy, 0xffff, NULL, 0));
  TRY("kernel", "a call that is not known", "ENOSYS", CALL(5000));
  TRY("kernel", "the hypervisor", no, error_of(socket(AF_VSOCK, SOCK_STREAM, 0)));
  TRY("kernel", "its cryptography", no, error_of(socket(AF_ALG, SOCK_SEQPACKET, 0)));
#ifdef __x86_64__
  TRY("kernel", "init_module of i386", no, call_i386(128, 0, 0, 0));
  TRY("kernel", "bpf of i386", no, call_i386(357, 0xffff, 0, 0));
  TRY("kernel", "the hypervisor, of i386", no, call_i386(359, AF_VSOCK, SOCK_STREAM, 0));
#endif
}

static void objects(void) {
  char name[256];
  snprintf(name, sizeof name, "/%s", text);
  TRY("objects", "shared memory", "ENOENT", error_of(shmget(ipc_key(), 0, 0)));
  TRY("objects", "list of shared memory", "nothing", ({
        char line[512];
        int lines = 0;
        FILE *file = fopen("/proc/sysvipc/shm", "r");
        while (file && fgets(line, sizeof line, file)) lines++;
        lines > 1 ? 0 : NOTHING;
      }));
  TRY("objects", "message queue", "ENOENT", error_of(mq_open(name, O_RDONLY)));
  TRY("objects", "file in shared memory", "ENOENT", error_of(shm_open(name, O_RDONLY, 0)));
}

static void files(void) {
  TRY("files", "the file itself", "nothing", is_canary(canary) ? 0 : NOTHING);
  TRY("files", "above the root", "nothing", look_below("") ? 0 : NOTHING);
  TRY("files", "chroot and back", "nothing|EPERM", leave_chroot());
}

static void network(void) {
  // Without a network nothing is there; on the host's all of it is, as docs/internals/threat-model.md says.
  const char *no = host_network ? "done" : "ECONNREFUSED|ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|EINPROGRESS|EAGAIN|ETIMEDOUT|nothing";
  TRY("network", "loopback of the host", no, tcp("127.0.0.1"));
  TRY("network", "the address of all", no, tcp("0.0.0.0"));
  if (!host_network) {
    TRY("network", "loopback by version 6", no, tcp("::1"));
    TRY("network", "loopback as 4 in 6", no, tcp("::ffff:127.0.0.1"));
    TRY("network", "another loopback", no, tcp("127.1.2.3"));
    TRY("network", "the gateway", no, gateway());
    TRY("network", "the name server", no, tcp("169.254.1.1"));
  }
  TRY("network", "abstract socket", no, abstract_socket());
  TRY("network", "an interface", "EPERM", loopback_down());
}

static int try_all(int count, char **arguments) {
  if (count < 7) return 2;
  canary = arguments[2], text = arguments[3], victim = atoi(arguments[4]), port = atoi(arguments[5]);
  unsigned major_, minor_;
  if (sscanf(arguments[6], "%u:%u", &major_, &minor_) != 2) return 2;
  disk = makedev(major_, minor_), host_network = count > 7;
  // Also the signal that is meant for others.
  signal(SIGUSR1, SIG_IGN);
  int open_files = inherited();
  TRY("files", "descriptors that were left open", "nothing", open_files);
  files(), mounts(), namespaces(), proc(), processes(), rights(), keys(), devices(), kernel(), objects(), network();
  printf("attempts\t%d\n", number_of_names);
  return 0;
}

// ---- what stands outside

static volatile sig_atomic_t signals;
static void note_signal(int number) { (void)number, signals++; }

static int listener(int family, const void *address, socklen_t length) {
  int file = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(file, address, length) < 0 || listen(file, 8) < 0) perror("listen"), exit(1);
  return file;
}

static int stand(const char *secret) {
  text = secret;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "%s", text);
  struct pollfd waited[3] = {{0, POLLIN, 0},
                             {listener(AF_INET, &address, sizeof address), POLLIN, 0},
                             {listener(AF_UNIX, &name, length), POLLIN, 0}};
  length = sizeof address;
  getsockname(waited[1].fd, (struct sockaddr *)&address, &length);
  char path[256];
  snprintf(path, sizeof path, "/%s", text);
  int shared = shmget(ipc_key(), 4096, IPC_CREAT | 0666), file = shm_open(path, O_CREAT | O_RDWR, 0666);
  mqd_t queue = mq_open(path, O_CREAT | O_RDWR, 0666, NULL);
  for (int number = 1; number < 65; number++) signal(number, note_signal);
  printf("%d %d\n", getpid(), ntohs(address.sin_port));
  fflush(stdout);
  int guests = 0;
  while (!(waited[0].revents & (POLLIN | POLLHUP))) {
    if (poll(waited, 3, -1) < 0) continue;
    for (int at = 1; at < 3; at++) {
      if (!waited[at].revents) continue;
      int guest = accept(waited[at].fd, NULL, NULL);
      guests++;
      if (write(guest, text, strlen(text)) < 0) perror("write");
      close(guest);
    }
  }
  shmctl(shared, IPC_RMID, NULL), shm_unlink(path), mq_unlink(path), close(file), mq_close(queue);
  printf("signals %d guests %d\n", (int)signals, guests);
  return 0;
}

int main(int count, char **arguments) {
  if (count > 2 && !strcmp(arguments[1], "victim")) return stand(arguments[2]);
  if (count > 1 && !strcmp(arguments[1], "try")) return try_all(count, arguments);
  return 2;
}
