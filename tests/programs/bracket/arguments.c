// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// What surrounds an answer: bad pointers, errno, and the arguments and results of other calls.

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define PAGE 4096
#define UNWRITTEN 0xa5a5a5a5u

// ---- getresuid-pointers

static uint32_t global_id;
static const uint32_t constant_id = 7;

enum { GOOD_STACK, GOOD_HEAP, GOOD_GLOBAL, GOOD_UNALIGNED, GOODS };

static uint32_t *goods[GOODS];
static void *bads[16];
static size_t bad_count;

static void add_bad(void *pointer)
{
	bads[bad_count++] = pointer;
}

static void make_bad_pointers(void)
{
	char *pages = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(pages + PAGE, PAGE, PROT_NONE);
	mprotect(pages + 2 * PAGE, PAGE, PROT_READ);
	munmap(pages + 3 * PAGE, PAGE);
	add_bad(NULL);
	add_bad((void *)1);
	add_bad((void *)-1);
	add_bad((void *)-4096);
	add_bad((void *)LONG_MIN);
	// The first addresses that are not canonical, and the end of user space.
	add_bad((void *)0x800000000000);
	add_bad((void *)0x7ffffffff000);
	add_bad(pages + PAGE);
	add_bad(pages + PAGE - 2);
	add_bad(pages + 2 * PAGE);
	add_bad(pages + 3 * PAGE);
	add_bad((void *)&constant_id);
}

static void reset(void)
{
	for (int i = 0; i < GOODS; i++)
		memcpy(goods[i], &(uint32_t){UNWRITTEN}, sizeof(uint32_t));
}

static void compare(const char *name, long number, int through, void *const p[3])
{
	uint32_t written[GOODS];
	long got;

	reset();
	const long wanted = real(number, p[0], p[1], p[2]);

	for (int i = 0; i < GOODS; i++)
		memcpy(&written[i], goods[i], sizeof(uint32_t));
	reset();
	errno = 0;
	if (through)
		got = wrappers.syscall(number, p[0], p[1], p[2]);
	else if (number == SYS_getresuid)
		got = wrappers.getresuid(p[0], p[1], p[2]);
	else
		got = wrappers.getresgid(p[0], p[1], p[2]);
	check_equal(name, got, wanted < 0 ? -1 : wanted);
	check_equal("errno after it", errno, wanted < 0 ? -wanted : 0);
	for (int i = 0; i < GOODS; i++) {
		uint32_t now_there;

		memcpy(&now_there, goods[i], sizeof(uint32_t));
		check_equal("what it wrote", now_there, written[i]);
	}
}

static void compare_forms(void *first, void *second, void *third)
{
	void *const p[3] = {first, second, third};

	compare("getresuid", SYS_getresuid, 0, p);
	compare("syscall(SYS_getresuid)", SYS_getresuid, 1, p);
	compare("getresgid", SYS_getresgid, 0, p);
	compare("syscall(SYS_getresgid)", SYS_getresgid, 1, p);
}

static void compare_pointers(void)
{
	for (size_t i = 0; i < bad_count; i++) {
		compare_forms(bads[i], goods[0], goods[1]);
		compare_forms(goods[1], bads[i], goods[2]);
		compare_forms(goods[2], goods[0], bads[i]);
		compare_forms(bads[i], bads[i], goods[0]);
		compare_forms(bads[i], bads[i], bads[i]);
	}
	for (int i = 0; i < GOODS; i++) {
		compare_forms(goods[i], goods[(i + 1) % GOODS], goods[(i + 2) % GOODS]);
		compare_forms(goods[i], goods[i], goods[i]);
	}
}

static void compare_with_different_ids(void *rounds)
{
	for (long i = 0; i < *(long *)rounds; i++)
		compare_pointers();
	if (real(SYS_setresgid, 21, 22, 23) == 0 && real(SYS_setresuid, 11, 12, 13) == 0)
		compare_pointers();
}

void scenario_getresuid_pointers(long number, const char *text)
{
	uint32_t on_stack;
	char *heap = malloc(64);

	(void)text;
	goods[GOOD_STACK] = &on_stack;
	goods[GOOD_HEAP] = (uint32_t *)heap;
	goods[GOOD_GLOBAL] = &global_id;
	goods[GOOD_UNALIGNED] = (uint32_t *)(heap + 33);
	make_bad_pointers();
	reap(start(compare_with_different_ids, &number));
	free(heap);
}

// ---- errno

static void expect_error(const char *what, long got, long real_result)
{
	check_equal(what, got, -1);
	check_equal("errno after it", errno, -real_result);
}

void scenario_errno(long number, const char *text)
{
	const int untouched = 12345;

	(void)text;
	while (number-- > 0) {
		errno = untouched;
		check_all();
		check_equal("errno after the wrappers", errno, untouched);
		wrappers.syscall(SYS_getppid);
		check_equal("errno after syscall(SYS_getppid)", errno, untouched);
		expect_error("syscall(SYS_read, -1)", wrappers.syscall(SYS_read, -1, NULL, 0),
			     real(SYS_read, -1, NULL, 0));
		expect_error("syscall(SYS_close, -1)", wrappers.syscall(SYS_close, -1),
			     real(SYS_close, -1));
		expect_error("syscall(-1)", wrappers.syscall(-1), real(-1));
		expect_error("syscall(99999)", wrappers.syscall(99999), real(99999));
		expect_error("syscall(LONG_MAX)", wrappers.syscall(LONG_MAX), real(LONG_MAX));
		check_all();
	}
}

// ---- passthrough

static int file_of_pages(void)
{
	const int fd = memfd_create("pages", 0);

	for (char page = 0; page < 4; page++) {
		char text[PAGE];

		memset(text, 'a' + page, sizeof(text));
		if (write(fd, text, sizeof(text)) != sizeof(text))
			fail("write", errno);
	}
	return fd;
}

static void pass_mmap(int fd)
{
	char *map = (char *)wrappers.syscall(SYS_mmap, NULL, (size_t)PAGE, PROT_READ, MAP_SHARED, fd,
					     (off_t)2 * PAGE);

	check_equal("a byte of syscall(SYS_mmap)", map == MAP_FAILED ? -1 : map[PAGE - 1], 'c');
	check_equal("syscall(SYS_munmap)", wrappers.syscall(SYS_munmap, map, (size_t)PAGE), 0);
	errno = 0;
	check_equal("syscall(SYS_mmap) of no fd",
		    wrappers.syscall(SYS_mmap, NULL, (size_t)PAGE, PROT_READ, MAP_SHARED, -1, 0L), -1);
	check_equal("errno after it", errno, EBADF);
}

static void pass_files(int fd, int other)
{
	char got[8] = "";
	off_t from = PAGE, to = 0;

	check_equal("syscall(SYS_pread64)",
		    wrappers.syscall(SYS_pread64, fd, got, (size_t)4, (off_t)3 * PAGE - 2), 4);
	check_equal("what it read", memcmp(got, "ccdd", 4), 0);
	check_equal("syscall(SYS_sendfile)", wrappers.syscall(SYS_sendfile, other, fd, &from, (size_t)10),
		    10);
	check_equal("its offset", from, PAGE + 10);
	from = 3 * PAGE;
	check_equal("syscall(SYS_copy_file_range)",
		    wrappers.syscall(SYS_copy_file_range, fd, &from, other, &to, (size_t)5, 0u), 5);
	check_equal("its offset", to, 5);
	check_equal("syscall(SYS_pread64)",
		    wrappers.syscall(SYS_pread64, other, got, (size_t)6, (off_t)0), 6);
	check_equal("what it read", memcmp(got, "dddddb", 6), 0);
	// A result and an argument wider than 32 bits.
	check_equal("syscall(SYS_lseek)", wrappers.syscall(SYS_lseek, fd, (off_t)1 << 40, SEEK_SET),
		    (off_t)1 << 40);
	wrappers.syscall(SYS_lseek, other, (off_t)0, SEEK_SET);
}

static void pass_futex(void)
{
	uint32_t word = 5, other = 0;

	errno = 0;
	check_equal("syscall(SYS_futex, FUTEX_WAIT)",
		    wrappers.syscall(SYS_futex, &word, FUTEX_WAIT, 6, NULL, NULL, 0), -1);
	check_equal("errno after it", errno, EAGAIN);
	check_equal("syscall(SYS_futex, FUTEX_CMP_REQUEUE)",
		    wrappers.syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1L, &other, 5), 0);
	errno = 0;
	check_equal("syscall(SYS_futex, FUTEX_CMP_REQUEUE) of another value",
		    wrappers.syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1L, &other, 6), -1);
	check_equal("errno after it", errno, EAGAIN);
}

static void pass_splice(int fd)
{
	int ends[2];
	off_t from = 2 * PAGE - 3;
	char got[8] = "";

	if (pipe(ends)) {
		fail("pipe", errno);
		return;
	}
	check_equal("syscall(SYS_splice)",
		    wrappers.syscall(SYS_splice, fd, &from, ends[1], NULL, (size_t)3, 0u), 3);
	check_equal("its offset", from, 2 * PAGE);
	check_equal("syscall(SYS_read)", wrappers.syscall(SYS_read, ends[0], got, (size_t)8), 3);
	check_equal("what it read", memcmp(got, "bbb", 4), 0);
	close(ends[0]);
	close(ends[1]);
}

// The kernel looks at 32 bits of the number only; whoever dispatches on the number must agree.
static void pass_odd_numbers(void)
{
	const long odd[] = {SYS_getpid | 1L << 32, SYS_getuid | LONG_MIN, SYS_gettid | 1L << 62};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		const long wanted = real(odd[i]);

		check_equal("syscall() of a number with high bits", wrappers.syscall(odd[i]),
			    wanted < 0 ? -1 : wanted);
	}
	check_equal("syscall(SYS_getppid)", wrappers.syscall(SYS_getppid), real(SYS_getppid));
	check_equal("syscall(SYS_getpgid)", wrappers.syscall(SYS_getpgid, 0), real(SYS_getpgid, 0));
	check_equal("syscall(SYS_getsid)", wrappers.syscall(SYS_getsid, 0), real(SYS_getsid, 0));
}

void scenario_passthrough(long number, const char *text)
{
	const int fd = file_of_pages(), other = memfd_create("other", 0);

	(void)text;
	while (number-- > 0) {
		pass_mmap(fd);
		pass_files(fd, other);
		pass_futex();
		pass_splice(fd);
		pass_odd_numbers();
	}
	close(fd);
	close(other);
}
