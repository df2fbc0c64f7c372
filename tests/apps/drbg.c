// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
/*
 * drbg COUNT: make COUNT requests of 16 bytes to OpenSSL's CTR-DRBG and print what they were and how long they took.
 *
 * The generator's parent is OpenSSL's TEST-RAND with entropy and a nonce fixed here, so the output is the same in
 * each run, and a different answer of getpid() would show in it. OpenSSL's fork check asks getpid() at each request:
 * a pid that changed makes the generator reseed. The program ends with a fork, where the child must reseed (from
 * further fixed entropy) and the parent must not: a stale pid in the child, or a wrong one anywhere, changes the digest.
 *
 * Prints one line of JSON: {"operations": COUNT, "seconds": S, "digest": "SHA256-PARENT SHA256-CHILD"}.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

enum {
	REQUEST = 16,		/* bytes a request */
	CHUNK = 4096,		/* requests between two updates of the digest */
	STRENGTH = 256,		/* bits, AES-256-CTR */
	ENTROPY = 4096,		/* bytes for the first seed and the child's reseed */
	NONCE = 64,
	HEX = 2 * 32 + 1,	/* a SHA-256 in hexadecimal digits, and the zero */
};

static void fail(const char *what)
{
	fprintf(stderr, "drbg: %s failed\n", what);
	ERR_print_errors_fp(stderr);
	_exit(1);
}

/* TEST-RAND hands out its fixed entropy in order, each byte once. */
static EVP_RAND_CTX *new_parent(void)
{
	static unsigned char entropy[ENTROPY], nonce[NONCE];
	unsigned int strength = STRENGTH;
	EVP_RAND *rand = EVP_RAND_fetch(NULL, "TEST-RAND", NULL);
	EVP_RAND_CTX *ctx = rand ? EVP_RAND_CTX_new(rand, NULL) : NULL;

	if (!ctx)
		fail("EVP_RAND_CTX_new(TEST-RAND)");
	EVP_RAND_free(rand);

	for (size_t i = 0; i < sizeof(entropy); i++)
		entropy[i] = (unsigned char)(i * 167 + (i >> 8) * 59 + 13);
	for (size_t i = 0; i < sizeof(nonce); i++)
		nonce[i] = (unsigned char)(i * 101 + 7);

	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_uint(OSSL_RAND_PARAM_STRENGTH, &strength),
		OSSL_PARAM_construct_octet_string(OSSL_RAND_PARAM_TEST_ENTROPY, entropy, sizeof(entropy)),
		OSSL_PARAM_construct_octet_string(OSSL_RAND_PARAM_TEST_NONCE, nonce, sizeof(nonce)),
		OSSL_PARAM_construct_end(),
	};
	if (!EVP_RAND_instantiate(ctx, STRENGTH, 0, NULL, 0, params))
		fail("EVP_RAND_instantiate(TEST-RAND)");
	return ctx;
}

/* A generator that never reseeds by itself, neither after so many requests nor after so much time: only for a fork. */
static EVP_RAND_CTX *new_drbg(EVP_RAND_CTX *parent)
{
	char cipher[] = "AES-256-CTR";
	unsigned int requests = 0;
	time_t interval = 0;
	EVP_RAND *rand = EVP_RAND_fetch(NULL, "CTR-DRBG", NULL);
	EVP_RAND_CTX *ctx = rand ? EVP_RAND_CTX_new(rand, parent) : NULL;

	if (!ctx)
		fail("EVP_RAND_CTX_new(CTR-DRBG)");
	EVP_RAND_free(rand);

	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_DRBG_PARAM_CIPHER, cipher, 0),
		OSSL_PARAM_construct_uint(OSSL_DRBG_PARAM_RESEED_REQUESTS, &requests),
		OSSL_PARAM_construct_time_t(OSSL_DRBG_PARAM_RESEED_TIME_INTERVAL, &interval),
		OSSL_PARAM_construct_end(),
	};
	if (!EVP_RAND_instantiate(ctx, STRENGTH, 0, NULL, 0, params))
		fail("EVP_RAND_instantiate(CTR-DRBG)");
	return ctx;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Make `count` requests, hash what came, return the seconds that the requests alone took. */
static double generate(EVP_RAND_CTX *drbg, unsigned long count, EVP_MD_CTX *md)
{
	static unsigned char buffer[CHUNK * REQUEST];
	double seconds = 0;

	while (count > 0) {
		unsigned long chunk = count < CHUNK ? count : CHUNK;
		double start = now();

		for (unsigned long i = 0; i < chunk; i++)
			if (!EVP_RAND_generate(drbg, buffer + i * REQUEST, REQUEST, 0, 0, NULL, 0))
				fail("EVP_RAND_generate");
		seconds += now() - start;
		if (!EVP_DigestUpdate(md, buffer, chunk * REQUEST))
			fail("EVP_DigestUpdate");
		count -= chunk;
	}
	return seconds;
}

static void finish(EVP_MD_CTX *md, char hex[HEX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length;

	if (!EVP_DigestFinal_ex(md, digest, &length))
		fail("EVP_DigestFinal_ex");
	for (unsigned int i = 0; i < length; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

/* Continue in a forked child and hash there what it draws; the child's pid must make its generator reseed. */
static void generate_in_child(EVP_RAND_CTX *drbg, EVP_MD_CTX *md, char hex[HEX])
{
	int pipe_fds[2], status;

	if (pipe(pipe_fds))
		fail("pipe");
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		generate(drbg, CHUNK, md);
		finish(md, hex);
		_exit(write(pipe_fds[1], hex, HEX) != HEX);
	}
	close(pipe_fds[1]);
	ssize_t got = read(pipe_fds[0], hex, HEX);
	close(pipe_fds[0]);
	if (waitpid(child, &status, 0) != child || status != 0 || got != HEX)
		fail("the forked child");
}

int main(int argc, char **argv)
{
	char *end = NULL, parent_hex[HEX] = "", child_hex[HEX] = "";

	errno = 0;
	unsigned long count = argc == 2 ? strtoul(argv[1], &end, 10) : 0;
	if (count == 0 || errno || *end != '\0') {
		fprintf(stderr, "usage: drbg COUNT\n");
		return 2;
	}

	EVP_RAND_CTX *parent = new_parent();
	EVP_RAND_CTX *drbg = new_drbg(parent);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL))
		fail("EVP_DigestInit_ex");

	double seconds = generate(drbg, count, md);
	generate_in_child(drbg, md, child_hex);
	generate(drbg, CHUNK, md);
	finish(md, parent_hex);
	if (strcmp(parent_hex, child_hex) == 0) {
		fprintf(stderr, "drbg: parent and child drew the same bytes after a fork: the fork was not seen\n");
		return 1;
	}
	printf("{\"operations\": %lu, \"seconds\": %.9f, \"digest\": \"%s %s\"}\n", count, seconds, parent_hex, child_hex);

	EVP_MD_CTX_free(md);
	EVP_RAND_CTX_free(drbg);
	EVP_RAND_CTX_free(parent);
	return 0;
}
