/*
 * The measure: glibc's malloc and free over the same packed records that the model
 * gets, driven from C. Handles index a table of pointers.
 *
 *   glibc_replay WARMUP MAIN SIZES     files of 32-byte records; bytes per cache id
 *
 * Prints the nanoseconds of the CPU per operation of MAIN.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RECORD = 32, HANDLE_AT = 8, ARG_AT = 20, OP_AT = 28 };
enum { PAGE_ALLOC = 1, OBJ_ALLOC = 3, PAGE_SIZE = 4096 };

static size_t sizes[64];
static void **live;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static unsigned char *load(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	unsigned char *data;

	if (!file || fseek(file, 0, SEEK_END)) {
		perror(path);
		exit(2);
	}
	*size = ftell(file);
	rewind(file);
	data = malloc(*size + 1);
	if (!data || fread(data, 1, *size, file) != *size) {
		perror(path);
		exit(2);
	}
	fclose(file);
	return data;
}

static void replay(const unsigned char *data, size_t size)
{
	for (size_t at = 0; at < size; at += RECORD) {
		uint64_t handle;
		uint32_t arg;

		memcpy(&handle, data + at + HANDLE_AT, sizeof(handle));
		memcpy(&arg, data + at + ARG_AT, sizeof(arg));
		if (data[at + OP_AT] == OBJ_ALLOC)
			live[handle] = malloc(sizes[arg]);
		else if (data[at + OP_AT] == PAGE_ALLOC)
			live[handle] = malloc((size_t)PAGE_SIZE << arg);
		else
			free(live[handle]);
	}
}

int main(int argc, char **argv)
{
	size_t warm_size, main_size, handles;
	unsigned char *warm, *stream;
	double start;
	char *rest;

	if (argc != 4) {
		fprintf(stderr, "usage: glibc_replay WARMUP MAIN SIZES\n");
		return 2;
	}
	rest = argv[3];
	for (int i = 0; i < 64 && *rest; i++)
		sizes[i] = strtoul(rest + (*rest == ','), &rest, 10);
	warm = load(argv[1], &warm_size);
	stream = load(argv[2], &main_size);
	handles = (warm_size + main_size) / RECORD + 2;
	live = malloc(handles * sizeof(*live));
	memset(live, 0, handles * sizeof(*live));
	replay(warm, warm_size);
	start = now();
	replay(stream, main_size);
	printf("%.2f\n", (now() - start) / (main_size / RECORD));
	return 0;
}
