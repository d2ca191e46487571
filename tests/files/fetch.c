// common/models/fetch.sh against a web server of our own that cuts connections, sends error pages
// or sends something else. What the server does is the first folder of the path asked for, so it
// keeps no state and each test can run on its own.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <sha256.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support.h"

enum {
    WEIGHTS = 8000,
    CUT = 3000
}; // bytes: of the made-up model.safetensors, and of what "cut" sends before it hangs up

static char folder[SUPPORT_PATH]; // holds a copy of fetch.sh, and so what it fetches
static pid_t server;
static int port;

// ---- the server, in a process of its own ----

static const char *weights(void)
{
    static char bytes[WEIGHTS];
    for (size_t i = 0; i < WEIGHTS; i++)
        bytes[i] = (char)(i * i % 251);
    return bytes;
}

// The contents of a file of tests/reference/gpt2, which have GPT-2's pinned digests; NULL if it has
// no such file.
static const char *reference(const char *name, size_t *n)
{
    static char bytes[2 << 20];
    char path[SUPPORT_PATH + 64];
    snprintf(path, sizeof path, "%s/tests/reference/gpt2/%s", SOURCE_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    *n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    return bytes;
}

// What a good server has under this path; NULL if nothing.
static const char *content(const char *path, size_t *n)
{
    const char *name = strrchr(path, '/') + 1, *text = NULL;
    *n = WEIGHTS;
    if (strcmp(name, "model.safetensors") == 0)
        return weights();
    if (strstr(path, "/openai-community/gpt2/") && (text = reference(name, n)))
        return text;
    if (strcmp(name, "config.json") == 0)
        text = "{\n  \"model_type\": \"gpt2\"\n}\n";
    else if (strcmp(name, "merges.txt") == 0 && !strstr(path, "/no-merges/"))
        text = "#version: 0.2\n";
    else if (strcmp(name, "vocab.json") == 0 ||
             (strcmp(name, "tokenizer.json") == 0 && strstr(path, "/no-merges/")))
        text = "{}\n";
    *n = text ? strlen(text) : 0;
    return text;
}

static void answer(int client, const char *code, const char *body, size_t length, size_t sent)
{
    dprintf(client, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", code,
            length);
    while (sent > 0) {
        ssize_t n = write(client, body, sent);
        if (n <= 0)
            return;
        body += n;
        sent -= (size_t)n;
    }
}

static void serve(int client, const char *path, size_t first)
{
    static const char page[] = "<html>sorry</html>\n";
    size_t n;
    const char *body = content(path, &n);
    char code[128] = "200 OK";
    if (strncmp(path, "/page/", 6) == 0 || strncmp(path, "/busy/", 6) == 0 || !body) {
        const char *s = path[1] == 'b' ? "500 Internal Server Error"
                        : body         ? "200 OK"
                                       : "404 Not Found";
        answer(client, s, page, strlen(page), strlen(page));
        return;
    }
    if (strncmp(path, "/whole-only/", 12) == 0)
        first = 0;
    if (strncmp(path, "/elsewhere/", 11) == 0) {
        dprintf(client,
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/good/%s\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n",
                port, path + 11);
        return;
    }
    if (strncmp(path, "/silent/", 8) == 0) {
        sleep(60);
        return;
    }
    if (strncmp(path, "/endless/", 9) == 0 && strstr(path, "config.json")) {
        dprintf(client, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while (write(client, weights(), WEIGHTS) > 0)
            ;
        return;
    }
    if (strncmp(path, "/huge/", 6) == 0 && strstr(path, "config.json")) {
        answer(client, "200 OK", body, (size_t)1 << 40, n);
        return;
    }
    if (first > 0 && first < n)
        snprintf(code, sizeof code, "206 Partial Content\r\nContent-Range: bytes %zu-%zu/%zu",
                 first, n - 1, n);
    if (first >= n) {
        answer(client, "416 Range Not Satisfiable", NULL, 0, 0);
        return;
    }
    n -= first;
    answer(client, code, body + first, n, strncmp(path, "/cut/", 5) == 0 && n > CUT ? CUT : n);
}

// Reads one request up to its empty line and answers it.
static void converse(int client)
{
    char request[4096] = "", path[1024];
    size_t got = 0, first = 0;
    while (!strstr(request, "\r\n\r\n")) {
        ssize_t n = read(client, request + got, sizeof request - 1 - got);
        if (n <= 0)
            return;
        got += (size_t)n;
    }
    const char *range = strstr(request, "Range: bytes=");
    if (range)
        first = strtoul(range + strlen("Range: bytes="), NULL, 10);
    if (sscanf(request, "GET %1023s", path) == 1)
        serve(client, path, first);
}

static void start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(listener >= 0 && bind(listener, (struct sockaddr *)&address, n) == 0 &&
              listen(listener, 8) == 0);
    cr_assert(getsockname(listener, (struct sockaddr *)&address, &n) == 0);
    port = ntohs(address.sin_port);
    server = fork();
    cr_assert(server >= 0);
    if (server > 0) {
        close(listener);
        return;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int client; (client = accept(listener, NULL, NULL)) >= 0; close(client))
        converse(client);
    _exit(0);
}

// ---- what the tests say ----

// Runs a shell command in the folder; its exit code, and what it prints to either stream in
// `output`.
static char output[1 << 16];
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char command[2048];
    va_list arguments;
    va_start(arguments, format);
    int n = snprintf(command, sizeof command, "cd %s && exec 2>&1; ", folder);
    vsnprintf(command + n, sizeof command - (size_t)n, format, arguments);
    va_end(arguments);
    FILE *pipe = popen(command, "r");
    cr_assert(pipe);
    output[fread(output, 1, sizeof output - 1, pipe)] = '\0';
    int code = pclose(pipe);
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

// fetch.sh with a server that behaves as `manner` says.
static int fetch(const char *manner, const char *model)
{
    char digest[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)weights(), WEIGHTS, digest);
    return run("no_proxy='*' SHA256=%s MODEL_URL=http://127.0.0.1:%d/%s ./fetch.sh %s", digest,
               port, manner, model);
}

// The size of a file in the folder, -1 if there is none.
static long size(const char *name)
{
    char path[SUPPORT_PATH + 64];
    struct stat s;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &s) == 0 ? (long)s.st_size : -1;
}

static void set_up(void)
{
    support_make_dir(folder);
    cr_assert_eq(run("cp %s/common/models/fetch.sh .", SOURCE_DIR), 0);
    start();
}

static void tear_down(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    run("rm -r %s", folder);
}

TestSuite(fetch, .init = set_up, .fini = tear_down);

#define assert_said(words)                                                                         \
    cr_assert(strstr(output, words), "expected \"%s\" in what was said: %s", words, output)
#define assert_size(name, bytes)                                                                   \
    cr_assert_eq(size(name), bytes, name ": %ld bytes, not %ld", size(name), (long)(bytes))

Test(fetch, whole_then_already_here)
{
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    assert_size("a/b/model.safetensors", WEIGHTS);
    assert_size("a/b/model.safetensors.part", -1);
    assert_said("a/b is ready");
    kill(server, SIGKILL); // the second run needs nobody
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    assert_said("model.safetensors: already here, verified");
}

Test(fetch, cut_connections_are_resumed)
{
    cr_assert_eq(fetch("cut", "a/b"), 0, "%s",
                 output); // no answer holds the whole: only going on can end this
    assert_size("a/b/model.safetensors", WEIGHTS);
}

Test(fetch, an_earlier_part_is_continued)
{
    run("mkdir -p a/b");
    FILE *part = fopen(strcat(strcpy((char[512]){0}, folder), "/a/b/model.safetensors.part"), "wb");
    cr_assert(part && fwrite(weights(), 1, WEIGHTS - 10, part) == WEIGHTS - 10 &&
              fclose(part) == 0);
    cr_assert_eq(fetch("cut", "a/b"), 0, "%s", output);
    assert_size("a/b/model.safetensors", WEIGHTS);
}

Test(fetch, a_part_that_cannot_be_continued_is_dropped)
{
    run("mkdir -p a/b; head -c 100 /dev/zero >a/b/model.safetensors.part"); // the server knows no
                                                                            // ranges
    cr_assert_eq(fetch("whole-only", "a/b"), 0, "%s", output);
    run("rm a/b/model.safetensors; head -c 9000 /dev/zero >a/b/model.safetensors.part"); // longer
                                                                                         // than the
                                                                                         // file
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    assert_size("a/b/model.safetensors", WEIGHTS);
}

Test(fetch, a_whole_part_needs_no_server)
{
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    cr_assert_eq(run("mv a/b/model.safetensors a/b/model.safetensors.part"), 0);
    kill(server, SIGKILL);
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    assert_size("a/b/model.safetensors", WEIGHTS);
}

Test(fetch, a_wrong_digest_leaves_nothing)
{
    run("mkdir -p a/b; head -c 100 /dev/zero >a/b/model.safetensors.part"); // continued, it is not
                                                                            // the file
    cr_assert_eq(fetch("good", "a/b"), 1, "%s", output);
    assert_said("not the file expected (SHA-256 ");
    assert_size("a/b/model.safetensors.part", -1);
    assert_size("a/b/model.safetensors", -1);
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output); // and so the next run starts over
}

Test(fetch, a_file_gone_bad_is_fetched_again)
{
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    run("echo more >>a/b/model.safetensors");
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    assert_size("a/b/model.safetensors", WEIGHTS);
}

Test(fetch, pinned_digests)
{
    cr_assert_eq(fetch("good", "gpt2"), 1, "%s",
                 output); // the tokenizer is GPT-2's own, the config is not
    assert_said("merges.txt: fetched, verified");
    assert_said("vocab.json: fetched, verified");
    assert_said("config.json: not the file expected");
    assert_size("gpt2/config.json", -1);
}

Test(fetch, tokenizer_json_where_there_are_no_merges)
{
    cr_assert_eq(fetch("no-merges", "a/b"), 0, "%s", output);
    assert_size("a/b/tokenizer.json", 3);
    assert_size("a/b/merges.txt", -1);
}

Test(fetch, error_pages_are_never_saved)
{
    cr_assert_eq(fetch("page", "a/b"), 1, "%s", output); // with code 200
    assert_said("merges.txt: not the file expected");
    cr_assert_eq(fetch("no-merges", "distilgpt2"), 1, "%s", output);
    assert_said("merges.txt: HTTP 404. Check the name");
    cr_assert_eq(fetch("busy", "a/b"), 1, "%s", output);
    assert_said("broke off (HTTP 500");
    cr_assert_eq(run("! find . -type f | grep -v fetch.sh"), 0, "left behind: %s", output);
}

Test(fetch, nobody_there)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    cr_assert_eq(fetch("good", "a/b"), 1, "%s", output);
    assert_said("Run this again");
}

// ---- Limits, and nothing but https ----

Test(fetch, a_redirection_to_http_is_not_followed)
{
    cr_assert_eq(fetch("elsewhere", "a/b"), 1, "%s", output);
    assert_said("only https");
    cr_assert_eq(run("! find . -type f | grep -v fetch.sh"), 0, "left behind: %s", output);
}

Test(fetch, http_over_a_network_is_refused)
{
    static const char *const urls[] = {"http://example.com", "http://127.0.0.1.example.com",
                                       "ftp://example.com",  "file:///etc",
                                       "example.com",        "http://localhost.example.com/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        cr_assert_eq(run("MODEL_URL=%s ./fetch.sh gpt2", urls[i]), 2, "%s: %s", urls[i], output);
        assert_said("only https");
    }
}

Test(fetch, a_file_that_says_it_is_too_long_is_not_fetched)
{
    cr_assert_eq(fetch("huge", "a/b"), 1, "%s", output);
    assert_said("config.json: larger than 67108864 bytes");
    assert_size("a/b/config.json.part", -1);
}

// It says no length: what is written is what counts.
Test(fetch, an_endless_file_is_cut_and_removed)
{
    cr_assert_eq(fetch("endless", "a/b"), 1, "%s", output);
    assert_said("config.json: larger than 67108864 bytes, removed");
    assert_size("a/b/config.json.part", -1);
    assert_size("a/b/config.json", -1);
}

Test(fetch, a_silent_server_is_given_up)
{
    setenv("PATIENCE", "1", 1);
    cr_assert_eq(fetch("silent", "a/b"), 1, "%s", output);
    assert_said("less than 1 kB/s for 1 s");
}

// ---- Pins ----

Test(fetch, files_without_a_digest_are_said_to_be_unpinned)
{
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    assert_said("config.json: fetched, unpinned: its SHA-256 is ");
    assert_said("merges.txt: fetched, unpinned: its SHA-256 is ");
    assert_said("model.safetensors: fetched, verified");
    cr_assert_eq(run("cd a/b && sha256sum * >../../sums"), 0, "%s", output);
    setenv("SHA256SUMS", "sums", 1);
    cr_assert_eq(fetch("good", "a/b"), 0, "%s", output);
    assert_said("config.json: already here, verified");
    assert_said("merges.txt: already here, verified");
    cr_assert_eq(run("sed -i 's/^......\\(.*config.json\\)/000000\\1/' sums; rm a/b/config.json"),
                 0, "%s", output);
    cr_assert_eq(fetch("good", "a/b"), 1, "%s", output);
    assert_said("config.json: not the file expected (SHA-256 000000");
    cr_assert_eq(run("cp a/b/model.safetensors x; sha256sum x | sed s/x/model.safetensors/ >sums; "
                     "no_proxy='*' SHA256SUMS=sums MODEL_URL=http://127.0.0.1:%d/good "
                     "./fetch.sh a/b",
                     port),
                 0, "%s", output); // the weights, too, by the list
    assert_said("model.safetensors: already here, verified");
    setenv("SHA256SUMS", "no-such-file", 1);
    cr_assert_eq(fetch("good", "a/b"), 2, "%s", output);
    assert_said("SHA256SUMS=");
}

Test(fetch, a_revision_is_asked_for)
{
    setenv("REVISION", "0123abcd", 1);
    cr_assert_eq(fetch("page", "a/b"), 1, "%s", output);
    assert_said("/a/b/resolve/0123abcd/");
    setenv("REVISION", "../x", 1);
    cr_assert_eq(fetch("good", "a/b"), 2, "%s", output);
}

Test(fetch, usage)
{
    static const char *const wrong[] = {"",   "gpt3", "a/b/c",   "../b",      "a/../b",
                                        "/a", "a/",   "'a b/c'", "gpt2 more", "-h"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_eq(fetch("good", wrong[i]), 2, "fetch.sh %s: %s", wrong[i], output);
        assert_said("usage: fetch.sh");
    }
    cr_assert_eq(run("SHA256=12 ./fetch.sh a/b"), 2, "%s", output);
    assert_said("64 hexadecimal digits");
}
