// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Tries all that could let a user write a pinned, frozen BPF array map that he may read.
//
//	locked PATH
//
// Prints each attempt with its result. Exit status: 0 reading works and each attempt to write
// failed, 1 not so, 2 wrong usage. As root it leaves out what root may do to a pinned file.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "real.h"

static bool wrong;

static long must_work(const char *what, long result)
{
	if (real_failed(result)) {
		wrong = true;
		printf("FAIL  %s: %s, and must work\n", what, strerror((int)-result));
	} else {
		printf("ok    %s: works\n", what);
	}
	return result;
}

static void must_fail(const char *what, long result)
{
	if (real_failed(result)) {
		printf("ok    %s: refused (%s)\n", what, strerrorname_np((int)-result));
	} else {
		wrong = true;
		printf("FAIL  %s: succeeded\n", what);
	}
}

static long bpf(int command, union bpf_attr *attributes)
{
	return real(SYS_bpf, command, attributes, sizeof(*attributes));
}

static long get(const char *path, unsigned int flags)
{
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.pathname = (unsigned long)path;
	attributes.file_flags = flags;
	return bpf(BPF_OBJ_GET, &attributes);
}

static struct bpf_map_info describe(int fd)
{
	struct bpf_map_info info;
	union bpf_attr attributes;

	memset(&info, 0, sizeof(info));
	memset(&attributes, 0, sizeof(attributes));
	attributes.info.bpf_fd = fd;
	attributes.info.info_len = sizeof(info);
	attributes.info.info = (unsigned long)&info;
	must_work("BPF_OBJ_GET_INFO_BY_FD", bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes));
	return info;
}

static long element(int fd, int command, void *value)
{
	union bpf_attr attributes;
	unsigned int key = 0;

	memset(&attributes, 0, sizeof(attributes));
	attributes.map_fd = fd;
	attributes.key = (unsigned long)&key;
	if (command != BPF_MAP_DELETE_ELEM)
		attributes.value = (unsigned long)value;
	return bpf(command, &attributes);
}

static long batch(int fd, int command, void *value)
{
	union bpf_attr attributes;
	unsigned int key = 0;

	memset(&attributes, 0, sizeof(attributes));
	attributes.batch.map_fd = fd;
	attributes.batch.keys = (unsigned long)&key;
	attributes.batch.values = (unsigned long)value;
	attributes.batch.count = 1;
	return bpf(command, &attributes);
}

static long freeze(int fd)
{
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.map_fd = fd;
	return bpf(BPF_MAP_FREEZE, &attributes);
}

static long map(int fd, size_t size, int protection, int flags)
{
	return real(SYS_mmap, NULL, size, protection, flags, fd, 0);
}

static void try_to_write_by_fd(const char *kind, int fd, void *value, size_t size)
{
	const struct {
		const char *what;
		long result;
	} attempts[] = {
		{"BPF_MAP_UPDATE_ELEM", element(fd, BPF_MAP_UPDATE_ELEM, value)},
		{"BPF_MAP_DELETE_ELEM", element(fd, BPF_MAP_DELETE_ELEM, value)},
		{"BPF_MAP_LOOKUP_AND_DELETE_ELEM", element(fd, BPF_MAP_LOOKUP_AND_DELETE_ELEM, value)},
		{"BPF_MAP_UPDATE_BATCH", batch(fd, BPF_MAP_UPDATE_BATCH, value)},
		{"BPF_MAP_DELETE_BATCH", batch(fd, BPF_MAP_DELETE_BATCH, value)},
		{"BPF_MAP_FREEZE", freeze(fd)},
		{"write()", real(SYS_write, fd, value, 1)},
		{"pwrite()", real(SYS_pwrite64, fd, value, 1, 0)},
		{"ftruncate()", real(SYS_ftruncate, fd, 0)},
		{"fallocate()", real(SYS_fallocate, fd, 0, 0, size)},
		{"mmap PROT_WRITE, MAP_SHARED", map(fd, size, PROT_WRITE, MAP_SHARED)},
		{"mmap PROT_READ|PROT_WRITE, MAP_SHARED",
		 map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED)},
		{"mmap PROT_READ|PROT_WRITE, MAP_PRIVATE",
		 map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE)},
	};

	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		char what[96];

		snprintf(what, sizeof(what), "%s by an fd %s", attempts[i].what, kind);
		must_fail(what, attempts[i].result);
	}
}

// Debuggers' ways write to pages that are mapped read-only, where the mapping may ever be written.
static void try_to_write_mapping(char *mapping, size_t size)
{
	char byte = 0;
	struct iovec from = {&byte, 1}, to = {mapping, 1};
	const int memory = open("/proc/self/mem", O_RDWR);
	const int program = open("/proc/self/exe", O_RDONLY);

	must_fail("mprotect PROT_READ|PROT_WRITE of the mapping",
		  real(SYS_mprotect, mapping, size, PROT_READ | PROT_WRITE));
	must_fail("mprotect PROT_WRITE of the mapping",
		  real(SYS_mprotect, mapping, size, PROT_WRITE));
	must_fail("read() of a file into the mapping", real(SYS_read, program, mapping, 1));
	must_fail("pwrite() of the mapping by /proc/self/mem",
		  real(SYS_pwrite64, memory, &byte, 1, mapping));
	must_fail("process_vm_writev() of the mapping",
		  real(SYS_process_vm_writev, real(SYS_getpid), &from, 1, &to, 1, 0));
	close(memory);
	close(program);
}

static void try_to_write_file(const char *path)
{
	char other[4096];

	snprintf(other, sizeof(other), "%s.moved", path);
	// The pin of a map with BTF can be opened, to read it as text; nothing can be written to it.
	const int modes[] = {O_WRONLY, O_RDWR};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		const long fd = real(SYS_open, path, modes[i]);

		if (fd < 0)
			continue;
		must_fail("write() to the opened pin", real(SYS_write, fd, other, 1L));
		must_fail("mmap() of the opened pin",
			  real(SYS_mmap, 0L, 4096L, PROT_WRITE, MAP_SHARED, fd, 0L));
		real(SYS_close, fd);
	}
	// truncate() is let through by bpffs, and changes the size that ls shows and nothing else.
	// Root may, and these would take the pin from its owner.
	if (real(SYS_geteuid) == 0) {
		printf("--    chmod, rename and unlink of the pin: not tried as root\n");
		return;
	}
	must_fail("chmod() of the pin", real(SYS_chmod, path, 0777));
	must_fail("chown() of the pin", real(SYS_chown, path, real(SYS_geteuid), -1));
	must_fail("rename() of the pin", real(SYS_rename, path, other));
	must_fail("link() of the pin", real(SYS_link, path, other));
	must_fail("unlink() of the pin", real(SYS_unlink, path));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: locked PATH\n");
		return 2;
	}
	const char *path = argv[1];
	const long fd = must_work("BPF_OBJ_GET, flags 0", get(path, 0));
	const long read_only = must_work("BPF_OBJ_GET, BPF_F_RDONLY", get(path, BPF_F_RDONLY));

	const long write_only = get(path, BPF_F_WRONLY);

	must_fail("BPF_OBJ_GET, BPF_F_RDONLY | BPF_F_WRONLY", get(path, BPF_F_RDONLY | BPF_F_WRONLY));
	if (wrong)
		return 1;

	const struct bpf_map_info info = describe((int)fd);
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t bytes = ((size_t)info.value_size + 7) / 8 * 8 * info.max_entries;
	const size_t size = (bytes + page - 1) / page * page;
	void *value = calloc(1, info.value_size ? info.value_size : 1);

	printf("--    map type %u, %u values of %u bytes, %zu bytes mapped\n", info.type,
	       info.max_entries, info.value_size, size);
	must_work("BPF_MAP_LOOKUP_ELEM by an fd with flags 0",
		  element((int)fd, BPF_MAP_LOOKUP_ELEM, value));
	must_work("BPF_MAP_LOOKUP_ELEM by an fd with BPF_F_RDONLY",
		  element((int)read_only, BPF_MAP_LOOKUP_ELEM, value));
	try_to_write_by_fd("with flags 0", (int)fd, value, size);
	try_to_write_by_fd("with BPF_F_RDONLY", (int)read_only, value, size);
	// The pin's mode may give this fd out; the freeze must make it worthless.
	if (real_failed(write_only))
		printf("ok    BPF_OBJ_GET, BPF_F_WRONLY: refused (%s)\n", strerrorname_np((int)-write_only));
	else
		try_to_write_by_fd("with BPF_F_WRONLY", (int)write_only, value, size);

	const long mapping = must_work("mmap PROT_READ, MAP_SHARED", map((int)fd, size, PROT_READ, MAP_SHARED));

	if (!real_failed(mapping)) {
		unsigned long sum = 0;

		for (size_t i = 0; i < bytes; i++)
			sum += ((volatile unsigned char *)mapping)[i];
		printf("ok    reading all of the mapping: its bytes sum to %lu\n", sum);
		try_to_write_mapping((char *)mapping, size);
	}
	// Linux refuses this one for its own reasons; where it is given, it must be for reading only.
	const long other = map((int)read_only, size, PROT_READ, MAP_SHARED);

	if (real_failed(other))
		printf("--    mmap PROT_READ by an fd with BPF_F_RDONLY: %s\n", strerrorname_np((int)-other));
	else
		try_to_write_mapping((char *)other, size);
	try_to_write_file(path);
	free(value);
	return wrong;
}
