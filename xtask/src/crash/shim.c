/*
 * A preload shim that stands between castore and its store, for `cargo xtask crash --faults`.
 *
 * A seccomp filter traps every system call that touches files, also those that no libc function
 * makes (rustix calls the kernel directly). The handler performs the call through an instruction
 * that the filter lets pass. For paths below the store it
 *   - fails, delays, tears, stops, kills or cuts the power, as the rules of the plan say;
 *   - appends each change and each flush to a journal that all processes share, in the order in
 *     which they happened, so that the store can be rebuilt as a power cut could have left it.
 * Flushes are journalled and not performed. The wall clock and the monotonic clock are libc
 * functions that the vDSO answers, so they are interposed by name.
 *
 * CASTORE_FAULTS is the directory with `control` and `journal`; CASTORE_FAULTS_PLAN is the plan, a
 * line each (`faults/plan.rs` writes it):
 *   root PATH                                         the store: what is journalled
 *   mirror PATH                                       a store that is read: rules apply there, too
 *   statfs MAGIC SYNCFS                               the filesystem to pretend; whether syncfs works
 *   rule CALLS MATCH FIRST COUNT ACTION A B           see `struct rule`
 *   clock FIRST WALL_NS                               the call of the jump, and its size
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "the shim reads the registers of x86_64 only"
#endif

/* The one instruction that the filter lets pass. */
long faults_syscall(long nr, long a, long b, long c, long d, long e, long f);
extern char faults_passes[];
__asm__(".text\n.globl faults_syscall\n.globl faults_passes\n"
        ".hidden faults_syscall\n.hidden faults_passes\nfaults_syscall:\n"
        "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\n"
        "mov %r8,%r10\nmov %r9,%r8\nmov 8(%rsp),%r9\nsyscall\nfaults_passes:\nret\n");
#define RAW(nr, ...) RAW_(nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define RAW_(nr, a, b, c, d, e, f, ...) \
    faults_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Classes of calls, a bit each; `plan.rs` has the same. */
enum { OPEN = 1, CREATE = 2, READ = 4, WRITE = 8, RENAME = 16, LINK = 32, UNLINK = 64, MKDIR = 128,
       FLUSH = 256, CLOSE = 512, LIST = 1024, STAT = 2048 };
/* The calls that change the store, or make it durable. Kills and cuts count only these. */
#define CHANGES (CREATE | WRITE | RENAME | LINK | UNLINK | MKDIR | FLUSH)

/* Of `a`: FAIL the error; TEAR the error, which comes after a part is done; DELAY microseconds. */
enum { FAIL = 1, TEAR = 2, DELAY = 3, STOP = 4, KILL = 5, CUT = 6 };

/* From the FIRST-th call of these classes whose path contains MATCH ("*": any), COUNT calls. */
struct rule {
    unsigned calls;
    char match[64];
    long first, count;
    int action;
    long a;
    unsigned long b;
    long seen;
};

/* Shared by all processes and by the Rust side, which reads and writes it as a file. */
struct control {
    uint32_t lock;     /* 1 while a process performs a call and journals it */
    uint32_t cut;      /* the power is off: no call is performed any more */
    uint64_t length;   /* of the journal, in bytes: what is beyond is not finished */
    uint64_t changes;  /* the number of calls so far that are in CHANGES */
    uint64_t fired;    /* the number of calls so far to which a rule was applied */
    uint64_t wall_ns;  /* added to every wall clock */
    uint64_t mono_ns;  /* added to every monotonic clock */
    uint32_t ignore;   /* flushes are not journalled: the self-test */
    uint32_t unused;
};

/* The kinds of records. */
enum { R_CREATE = 1, R_TRUNCATE, R_WRITE, R_RENAME, R_LINK, R_UNLINK, R_MKDIR, R_RMDIR, R_FLUSH_FILE,
       R_FLUSH_DIRECTORY, R_FLUSH_ALL, R_LOST_FILE, R_LOST_ALL };

struct record {
    uint32_t kind, path1, path2, data; /* the lengths of what follows */
    uint64_t inode, number, time_ns;   /* number: an offset or size; of flushes, where they began */
};

static struct control *control;
static int journal = -1;
static char root[PATH_MAX], mirror[PATH_MAX];
static size_t root_length, mirror_length;
static struct rule rules[32];
static int rule_count;
static long magic, syncfs_works = 1;
static long clock_first = -1;
static long long clock_jump;
static long calls_made;
static volatile int jumped;

static void spin_sleep(long ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    RAW(SYS_nanosleep, &t, 0);
}

static void die(void) {
    long self = RAW(SYS_getpid);
    RAW(SYS_kill, self, SIGKILL);
    for (;;) spin_sleep(1000000);
}

/* No other thread of this process gets the lock: it stops or ends, and leaves no call half done. */
static volatile int held_back;

static void unlock(void) { __atomic_store_n(&control->lock, 0, __ATOMIC_SEQ_CST); }

static void lock(void) {
    for (long n = 0;; n++) {
        uint32_t free = 0;
        if (__atomic_compare_exchange_n(&control->lock, &free, 1, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
            if (!held_back) break;
            unlock();
        }
        spin_sleep(n < 20 ? 1000 : 200000);
    }
    if (control->cut) { unlock(); die(); }
}

static void hold_back(void) {
    lock();
    held_back = 1;
    unlock();
}

/* With the lock held. */
static void record(int kind, uint64_t inode, uint64_t number, const char *path1, const char *path2,
                   const struct iovec *data, size_t size) {
    struct timespec now;
    RAW(SYS_clock_gettime, CLOCK_REALTIME, &now);
    struct record head = {kind, path1 ? strlen(path1) : 0, path2 ? strlen(path2) : 0, size, inode,
                          number, now.tv_sec * 1000000000ULL + now.tv_nsec};
    uint64_t at = control->length;
    at += RAW(SYS_pwrite64, journal, &head, sizeof head, at);
    if (path1) at += RAW(SYS_pwrite64, journal, path1, head.path1, at);
    if (path2) at += RAW(SYS_pwrite64, journal, path2, head.path2, at);
    for (; size > 0; data++) {
        size_t part = data->iov_len < size ? data->iov_len : size;
        long done = RAW(SYS_pwrite64, journal, data->iov_base, part, at);
        if (done < 0 || (size_t)done != part) abort();
        at += part;
        size -= part;
    }
    control->length = at;
}

/* The path of a descriptor; nothing for a pipe or a socket. */
static int path_of(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long size = RAW(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size > 0 && path[0] == '/';
}

static void absolute(int directory, const char *name, char *path) {
    path[0] = 0;
    if (!name) return;
    if (name[0] == '/') { snprintf(path, PATH_MAX, "%s", name); return; }
    if (directory == AT_FDCWD) {
        if (RAW(SYS_getcwd, path, PATH_MAX) <= 0) path[0] = 0;
    } else if (!path_of(directory, path)) return;
    size_t end = strlen(path);
    if (name[0] && strcmp(name, ".")) snprintf(path + end, PATH_MAX - end, "/%s", name);
}

/* The part of the path below the store, or nothing. */
static const char *inside(const char *path) {
    if (root_length == 0 || strncmp(path, root, root_length) != 0) return NULL;
    if (path[root_length] == 0) return "";
    return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

/* Whether rules apply to the path. */
static int ruled(const char *path) {
    return inside(path) || (mirror_length && strncmp(path, mirror, mirror_length) == 0);
}

static uint64_t inode_of(int fd) {
    struct stat s;
    return RAW(SYS_fstat, fd, &s) == 0 ? s.st_ino : 0;
}

static int exists(const char *path) {
    struct stat s;
    return RAW(SYS_newfstatat, AT_FDCWD, path, &s, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The rule that applies to this call, after having counted it. Stops, kills and cuts happen here. */
static struct rule *applies(unsigned calls, const char *path) {
    struct rule *found = NULL;
    long self = RAW(SYS_getpid);
    long made = __atomic_add_fetch(&calls_made, 1, __ATOMIC_SEQ_CST);
    if (clock_first >= 0 && made >= clock_first) jumped = 1;
    if (calls & CHANGES) __atomic_add_fetch(&control->changes, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < rule_count; i++) {
        struct rule *r = &rules[i];
        if (!(r->calls & calls) || (strcmp(r->match, "*") && !strstr(path, r->match))) continue;
        long seen = __atomic_add_fetch(&r->seen, 1, __ATOMIC_SEQ_CST);
        if (seen < r->first || seen - r->first >= r->count) continue;
        __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
        switch (r->action) {
        case DELAY:
            /* A different time for each call, up to A. */
            spin_sleep((long)((unsigned long)(seen * 2654435761UL + r->b) % (r->a + 1)) * 1000);
            break;
        case STOP:
            hold_back();
            RAW(SYS_kill, self, SIGSTOP);
            held_back = 0;
            break;
        case CUT:
            lock();
            control->cut = 1;
            held_back = 1;
            unlock();
            die();
            break;
        case KILL:
            hold_back();
            die();
            break;
        default:
            if (!found) found = r;
        }
    }
    return found;
}

/* How many of `size` bytes a torn call does. */
static size_t torn(const struct rule *r, size_t size) {
    return size ? (r->b ^ (r->seen * 0x9E3779B97F4A7C15UL)) % size : 0;
}

static long do_open(int at, const char *name, int flags, int mode) {
    char path[PATH_MAX];
    absolute(at, name, path);
    const char *in = inside(path);
    int creates = flags & (O_CREAT | O_TRUNC);
    struct rule *r = ruled(path) ? applies(creates ? CREATE : OPEN, path) : NULL;
    if (r) return -r->a;
    if (!in || !creates) return RAW(SYS_openat, at, name, flags, mode);
    lock();
    int is_new = !exists(path);
    long fd = RAW(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && is_new) record(R_CREATE, inode_of(fd), 0, in, NULL, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC)) record(R_TRUNCATE, inode_of(fd), 0, in, NULL, NULL, 0);
    unlock();
    return fd;
}

/* `offset` is -1 for the descriptor's own. */
static long do_write(int fd, const struct iovec *parts, int count, long offset) {
    char path[PATH_MAX];
    const char *in = path_of(fd, path) ? inside(path) : NULL;
    if (!in) {
        return offset < 0 ? RAW(SYS_writev, fd, parts, count)
                          : RAW(SYS_pwritev, fd, parts, count, offset, 0);
    }
    struct rule *r = applies(WRITE, path);
    if (r && r->action == FAIL) return -r->a;
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    struct iovec part = parts[0];
    if (r) {
        /* The torn part is there, and the call fails nevertheless: as an EIO in the middle does. */
        part.iov_len = torn(r, part.iov_len);
        parts = &part;
        count = 1;
    }
    lock();
    long at = offset;
    if (at < 0) {
        int append = RAW(SYS_fcntl, fd, F_GETFL) & O_APPEND;
        at = RAW(SYS_lseek, fd, 0, append ? SEEK_END : SEEK_CUR);
    }
    long done = offset < 0 ? RAW(SYS_writev, fd, parts, count)
                           : RAW(SYS_pwritev, fd, parts, count, offset, 0);
    if (done > 0) record(R_WRITE, inode_of(fd), at, in, NULL, parts, done);
    unlock();
    return r ? -r->a : done;
}

static long do_read(int fd, long nr, long b, long c, long d) {
    char path[PATH_MAX];
    struct rule *r = path_of(fd, path) && ruled(path) ? applies(READ, path) : NULL;
    if (r && r->action == TEAR && nr != SYS_readv) {
        /* Fewer bytes than were asked for: no error, and no end of the file. */
        size_t part = torn(r, c);
        return RAW(nr, fd, b, part ? part : 1, d);
    }
    return r ? -r->a : RAW(nr, fd, b, c, d);
}

/* Calls that change names. */
static long do_names(int kind, unsigned calls, int at1, const char *name1, int at2,
                     const char *name2, long flags) {
    char path1[PATH_MAX], path2[PATH_MAX];
    absolute(at1, name1, path1);
    absolute(at2, name2, path2);
    const char *in1 = inside(path1), *in2 = name2 ? inside(path2) : NULL;
    struct rule *r = in1 || in2 ? applies(calls, in1 ? path1 : path2) : NULL;
    if (r) return -r->a;
    if (in1 || in2) lock();
    long done;
    if (kind == R_RENAME) done = RAW(SYS_renameat2, at1, name1, at2, name2, flags);
    else if (kind == R_LINK) done = RAW(SYS_linkat, at1, name1, at2, name2, flags);
    else if (kind == R_MKDIR) done = RAW(SYS_mkdirat, at1, name1, flags);
    else done = RAW(SYS_unlinkat, at1, name1, flags);
    if (in1 || in2) {
        if (done == 0) record(kind, 0, 0, in1, in2, NULL, 0);
        unlock();
    }
    return done;
}

static long do_flush(int fd, int all) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return all ? RAW(SYS_syncfs, fd) : RAW(SYS_fsync, fd);
    const char *in = inside(path);
    if (!in) return 0;
    struct stat s = {0};
    RAW(SYS_fstat, fd, &s);
    uint64_t begun = __atomic_load_n(&control->length, __ATOMIC_SEQ_CST);
    struct rule *r = applies(FLUSH, path);
    lock();
    if (r && r->action == TEAR) {
        /* A failed writeback: unflushed bytes are never written, not even by a later flush. */
        record(all ? R_LOST_ALL : R_LOST_FILE, s.st_ino, control->length, in, NULL, NULL, 0);
    } else if (!r && !control->ignore) {
        if (!all) record(S_ISDIR(s.st_mode) ? R_FLUSH_DIRECTORY : R_FLUSH_FILE, s.st_ino, begun, in,
                         NULL, NULL, 0);
        else if (syncfs_works) record(R_FLUSH_ALL, 0, begun, in, NULL, NULL, 0);
    }
    unlock();
    /* A syncfs that does nothing reports nothing. */
    return r && (!all || syncfs_works) ? -r->a : 0;
}

static long do_close(int fd) {
    char path[PATH_MAX];
    const char *in = path_of(fd, path) ? inside(path) : NULL;
    if (!in) return RAW(SYS_close, fd);
    int writes = (RAW(SYS_fcntl, fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    struct rule *r = writes ? applies(CLOSE, path) : NULL;
    if (!r) return RAW(SYS_close, fd);
    if (r->action == TEAR) {
        /* NFS and FUSE write when a file is closed; unwritten bytes are lost. */
        struct stat s = {0};
        RAW(SYS_fstat, fd, &s);
        size_t size = torn(r, s.st_size);
        lock();
        if (RAW(SYS_ftruncate, fd, size) == 0) record(R_TRUNCATE, s.st_ino, size, in, NULL, NULL, 0);
        unlock();
    }
    RAW(SYS_close, fd);
    return -r->a;
}

static long do_truncate(int fd, long size) {
    char path[PATH_MAX];
    const char *in = path_of(fd, path) ? inside(path) : NULL;
    if (!in) return RAW(SYS_ftruncate, fd, size);
    struct rule *r = applies(WRITE, path);
    if (r) return -r->a;
    lock();
    long done = RAW(SYS_ftruncate, fd, size);
    if (done == 0) record(R_TRUNCATE, inode_of(fd), size, in, NULL, NULL, 0);
    unlock();
    return done;
}

static long do_look(unsigned calls, int at, const char *name, long nr, const long *a) {
    char path[PATH_MAX];
    if (name && name[0]) absolute(at, name, path);
    else if (!path_of(at, path)) path[0] = 0;
    struct rule *r = ruled(path) ? applies(calls, path) : NULL;
    return r ? -r->a : RAW(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long do_statfs(long done, struct statfs *answer) {
    if (done == 0 && magic) answer->f_type = magic;
    return done;
}

static long handle(long nr, const long *a) {
    switch (nr) {
    case SYS_open: return do_open(AT_FDCWD, (char *)a[0], a[1], a[2]);
    case SYS_creat: return do_open(AT_FDCWD, (char *)a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]);
    case SYS_openat: return do_open(a[0], (char *)a[1], a[2], a[3]);
    case SYS_write:
    case SYS_pwrite64: {
        struct iovec one = {(void *)a[1], a[2]};
        return do_write(a[0], &one, 1, nr == SYS_write ? -1 : a[3]);
    }
    case SYS_writev: return do_write(a[0], (struct iovec *)a[1], a[2], -1);
    case SYS_pwritev: return do_write(a[0], (struct iovec *)a[1], a[2], a[3]);
    case SYS_read:
    case SYS_pread64:
    case SYS_readv: return do_read(a[0], nr, a[1], a[2], a[3]);
    case SYS_rename:
        return do_names(R_RENAME, RENAME, AT_FDCWD, (char *)a[0], AT_FDCWD, (char *)a[1], 0);
    case SYS_renameat: return do_names(R_RENAME, RENAME, a[0], (char *)a[1], a[2], (char *)a[3], 0);
    case SYS_renameat2:
        return do_names(R_RENAME, RENAME, a[0], (char *)a[1], a[2], (char *)a[3], a[4]);
    case SYS_link:
        return do_names(R_LINK, LINK, AT_FDCWD, (char *)a[0], AT_FDCWD, (char *)a[1], 0);
    case SYS_linkat: return do_names(R_LINK, LINK, a[0], (char *)a[1], a[2], (char *)a[3], a[4]);
    case SYS_unlink: return do_names(R_UNLINK, UNLINK, AT_FDCWD, (char *)a[0], 0, NULL, 0);
    case SYS_unlinkat:
        return do_names(a[2] & AT_REMOVEDIR ? R_RMDIR : R_UNLINK, UNLINK, a[0], (char *)a[1], 0,
                        NULL, a[2]);
    case SYS_rmdir:
        return do_names(R_RMDIR, UNLINK, AT_FDCWD, (char *)a[0], 0, NULL, AT_REMOVEDIR);
    case SYS_mkdir: return do_names(R_MKDIR, MKDIR, AT_FDCWD, (char *)a[0], 0, NULL, a[1]);
    case SYS_mkdirat: return do_names(R_MKDIR, MKDIR, a[0], (char *)a[1], 0, NULL, a[2]);
    case SYS_fsync:
    case SYS_fdatasync: return do_flush(a[0], 0);
    case SYS_syncfs: return do_flush(a[0], 1);
    case SYS_close: return do_close(a[0]);
    case SYS_ftruncate: return do_truncate(a[0], a[1]);
    case SYS_getdents64: return do_look(LIST, a[0], NULL, nr, a);
    case SYS_stat:
    case SYS_lstat: return do_look(STAT, AT_FDCWD, (char *)a[0], nr, a);
    case SYS_fstat: return do_look(STAT, a[0], NULL, nr, a);
    case SYS_newfstatat:
    case SYS_statx: return do_look(STAT, a[0], (char *)a[1], nr, a);
    case SYS_statfs: return do_statfs(RAW(nr, a[0], a[1]), (struct statfs *)a[1]);
    case SYS_fstatfs: return do_statfs(RAW(nr, a[0], a[1]), (struct statfs *)a[1]);
    /* The ways to copy inside the kernel: on these errors a caller reads and writes instead. */
    case SYS_copy_file_range: return -EXDEV;
    case SYS_sendfile: return -EINVAL;
    case SYS_fallocate: return -EOPNOTSUPP;
    case SYS_exit_group: hold_back(); return RAW(nr, a[0]);
    default: return -ENOSYS; /* sync, truncate, openat2, sync_file_range, pwritev2 */
    }
}

static const int trapped[] = {
    SYS_open, SYS_creat, SYS_openat, SYS_openat2, SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev,
    SYS_pwritev2, SYS_read, SYS_pread64, SYS_readv, SYS_rename, SYS_renameat, SYS_renameat2,
    SYS_link, SYS_linkat, SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_mkdir, SYS_mkdirat, SYS_fsync,
    SYS_fdatasync, SYS_syncfs, SYS_sync, SYS_sync_file_range, SYS_close, SYS_ftruncate, SYS_truncate,
    SYS_getdents64, SYS_stat, SYS_lstat, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs,
    SYS_fstatfs, SYS_copy_file_range, SYS_sendfile, SYS_fallocate, SYS_exit_group,
};

static void on_trap(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    long arguments[6] = {g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9]};
    int before = errno;
    g[REG_RAX] = handle(info->si_syscall, arguments);
    errno = before;
}

/* The time that libc gives, and the jumps of the plan and of the control file. */
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, t);
    if (done != 0 || !control) return done;
    int wall = id == CLOCK_REALTIME;
    if (!wall && id != CLOCK_MONOTONIC && id != CLOCK_BOOTTIME) return done;
    long long ns = t->tv_nsec + (long long)(wall ? control->wall_ns : control->mono_ns);
    long long total = t->tv_sec * 1000000000LL + ns + (jumped && wall ? clock_jump : 0);
    t->tv_sec = total / 1000000000LL;
    t->tv_nsec = total % 1000000000LL;
    return done;
}

static void read_plan(char *plan) {
    for (char *line = strtok(plan, "\n"); line; line = strtok(NULL, "\n")) {
        struct rule r = {0};
        if (sscanf(line, "rule %u %63s %ld %ld %d %ld %lu", &r.calls, r.match, &r.first, &r.count,
                   &r.action, &r.a, &r.b) == 7 && rule_count < 32) rules[rule_count++] = r;
        else if (strncmp(line, "root ", 5) == 0) root_length = snprintf(root, sizeof root, "%s", line + 5);
        else if (sscanf(line, "statfs %ld %ld", &magic, &syncfs_works) == 2) continue;
        else if (strncmp(line, "mirror ", 7) == 0)
            mirror_length = snprintf(mirror, sizeof mirror, "%s", line + 7);
        else if (sscanf(line, "clock %ld %lld", &clock_first, &clock_jump) == 2) continue;
        else { fprintf(stderr, "shim: a line that it does not know: %s\n", line); _exit(99); }
    }
}

__attribute__((constructor)) static void begin(void) {
    char *directory = getenv("CASTORE_FAULTS"), *plan = getenv("CASTORE_FAULTS_PLAN");
    char path[PATH_MAX];
    if (!directory || !plan) return;
    read_plan(strdup(plan));
    snprintf(path, sizeof path, "%s/control", directory);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    snprintf(path, sizeof path, "%s/journal", directory);
    journal = open(path, O_RDWR | O_CLOEXEC);
    if (map == MAP_FAILED || journal < 0) { perror("shim"); _exit(99); }
    close(fd);
    control = map;

    enum { N = sizeof trapped / sizeof *trapped };
    struct sock_filter filter[N + 10];
    size_t n = 0;
    uint64_t passes = (uint64_t)faults_passes;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                              offsetof(struct seccomp_data, instruction_pointer));
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)passes, 0, 3);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                              offsetof(struct seccomp_data, instruction_pointer) + 4);
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(passes >> 32), 0, 1);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N; i++)
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, trapped[i], N - i, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {n, filter};
    struct sigaction action = {0};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
    sigaction(SIGSYS, &action, NULL);
    unsetenv("LD_PRELOAD");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("shim: no seccomp");
        _exit(99);
    }
}
