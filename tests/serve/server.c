// build/kvcache --serve, asked over plain sockets: answers, limits, clients that are slow or leave,
// and its end.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "kvcache/serve/server.h"
#include "tests/support/support.h"

enum { ANSWER = 1 << 16 };

static struct sockaddr_in at;
static pid_t server_process;

static int connected(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    for (int i = 0; i < 200; i++) {
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
            return fd;
        usleep(50000);
    }
    cr_assert_fail("nobody listens");
    return -1;
}

// Ports are given by the system: that of a socket that is closed again.
static void choose_port(void)
{
    socklen_t n = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    getsockname(fd, (struct sockaddr *)&at, &n);
    close(fd);
}

static void start_on(const char *name)
{
    char port[8];
    choose_port();
    snprintf(port, sizeof port, "%d", ntohs(at.sin_port));
    server_process = fork();
    if (server_process == 0) {
        if (freopen("/dev/null", "w", stderr))
            execl(BUILD_DIR "/kvcache", "kvcache", "--serve", port, "-m", name, (char *)NULL);
        _exit(127);
    }
    close(connected());
}

static void start(void)
{
    start_on(SOURCE_DIR "/common/models/shakespeare");
}

static void end(void)
{
    int result;
    kill(server_process, SIGINT);
    waitpid(server_process, &result, 0);
    cr_assert(WIFEXITED(result) && WEXITSTATUS(result) == 128 + SIGINT, "ended with %d", result);
}

TestSuite(server, .init = start, .fini = end, .timeout = 60);

static int sent_with(const char *headers, const char *path, const char *body)
{
    char text[4096];
    const int fd = connected(), n = snprintf(text, sizeof text,
                                             "POST %s HTTP/1.1\r\n%s\r\nConnection: close\r\n"
                                             "Content-Length: %zu\r\n\r\n%s",
                                             path, headers, strlen(body), body);
    cr_assert_eq(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

static int sent(const char *path, const char *body)
{
    return sent_with("Host: localhost:1", path, body);
}

// All that comes until the server closes the connection.
static const char *received(int fd)
{
    static char text[ANSWER];
    size_t n = 0;
    for (ssize_t more; (more = recv(fd, text + n, ANSWER - 1 - n, 0)) > 0;)
        n += (size_t)more;
    text[n] = '\0';
    close(fd);
    return text;
}

static void expect(int fd, const char *part)
{
    const char *text = received(fd);
    cr_assert_not_null(strstr(text, part), "no '%s' in: %s", part, text);
}

Test(server, answers_whole_and_in_pieces)
{
    static const char text[] = "/v1/completions", chat[] = "/v1/chat/completions";
    expect(sent(text, "{\"prompt\": \"ROMEO:\", \"max_tokens\": 8}"),
           "\"text\":\"\\nI have a gentleman\"");
    expect(sent(text, "{\"prompt\": \"ROMEO:\", \"max_tokens\": 8}"), "\"cached_tokens\":0");
    const char *pieces = received(sent(chat, "{\"messages\": [{\"role\": \"user\", \"content\": "
                                             "\"hi\"}], \"max_tokens\": 6, \"stream\": true, "
                                             "\"stream_options\": {\"include_usage\": true}}"));
    cr_assert_not_null(strstr(pieces, "\"role\":\"assistant\""));
    cr_assert_not_null(strstr(pieces, "\"object\":\"chat.completion.chunk\""));
    cr_assert_not_null(strstr(pieces, "}],\"usage\":null}\n"));
    cr_assert_not_null(strstr(pieces, "\"choices\":[],\"usage\":{\"prompt_tokens\":15,"));
    cr_assert_not_null(strstr(pieces, "data: [DONE]\n\n"));
    expect(sent(text, "{\"prompt\": 1}"), "HTTP/1.1 400");
    expect(sent(text, "{\"messages\": []}"), "HTTP/1.1 400");
    expect(sent(text, "{\"prompt\": \"a\", \"model\": \"b\"}"), "HTTP/1.1 404");
    expect(sent("/v2", ""), "HTTP/1.1 404");
    expect(sent("/v1/models", ""), "HTTP/1.1 405");
    expect(sent("/v1/models", ""), "Allow: GET\r\n");
}

// Neither a page of a browser nor a name that was made to mean this machine.
Test(server, serves_no_pages_of_others)
{
    static const char path[] = "/v1/completions", body[] = "{\"prompt\": \"a\", \"max_tokens\": 1}";
    expect(sent_with("Host: evil.example", path, body), "HTTP/1.1 403");
    expect(sent_with("Host: localhost.evil.example", path, body), "HTTP/1.1 403");
    expect(sent_with("Host: localhost\r\nOrigin: http://evil.example", path, body),
           "pages of a browser are not served");
    expect(sent_with("Host: 127.0.0.1:80", path, body), "HTTP/1.1 200");
    expect(sent_with("Host: LocalHost:80", path, body), "HTTP/1.1 200"); // RFC 9110, 4.2.3
}

// Whether some process listens on this address and the server's port.
static bool listens_on(const char *address)
{
    char wanted[32], text[256];
    bool found = false;
    snprintf(wanted, sizeof wanted, " %s:%04X 00000000:0000 0A ", address, ntohs(at.sin_port));
    FILE *f = fopen("/proc/net/tcp", "r");
    cr_assert_not_null(f);
    while (fgets(text, sizeof text, f))
        found = found || strstr(text, wanted);
    fclose(f);
    return found;
}

#ifdef __linux__
Test(server, listens_to_this_machine_alone)
{
    cr_assert(listens_on("0100007F") && !listens_on("00000000"));
}
#endif

// The status line that a body of n bytes, or a header of n bytes, gets.
static void expect_code(const char *code, const char *header, size_t body, size_t n)
{
    char text[256];
    char *filling = malloc(n);
    const int fd = connected();
    const int head = snprintf(text, sizeof text,
                              "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                              "Connection: close\r\nContent-Length: %zu\r\n%s",
                              body, header);
    cr_assert_not_null(filling);
    memset(filling, 'x', n);
    cr_assert_eq(send(fd, text, (size_t)head, MSG_NOSIGNAL), head);
    for (size_t at_byte = 0; at_byte < n;) {
        const ssize_t more = send(fd, filling + at_byte, n - at_byte, MSG_NOSIGNAL);
        if (more <= 0) // it has answered already, and closed
            break;
        at_byte += (size_t)more;
    }
    free(filling);
    const char *answer = received(fd);
    cr_assert_eq(strncmp(answer, code, strlen(code)), 0, "not %s: %.200s", code, answer);
}

Test(server, refuses_what_is_too_large)
{
    expect_code("HTTP/1.1 413", "\r\n", REQUEST_BYTES + 1, REQUEST_BYTES + 1);
    expect_code("HTTP/1.1 400", "\r\n", REQUEST_BYTES, REQUEST_BYTES); // as large as may be
    expect_code("HTTP/1.1 431", "X-Long: ", 0, 2 * SERVER_CONNECTION_BYTES);
}

Test(server, has_so_many_connections_and_no_more)
{
    int open[SERVER_CONNECTIONS];
    char byte;
    usleep(300000); // .init's own has gone
    for (size_t i = 0; i < SERVER_CONNECTIONS; i++)
        open[i] = connected();
    const int further = connected();
    const struct timeval limit = {.tv_sec = 5};
    setsockopt(further, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const ssize_t n = recv(further, &byte, 1, 0);
    cr_assert(n == 0 || (n < 0 && errno == ECONNRESET), "it is still open");
    for (size_t i = 0; i < SERVER_CONNECTIONS; i++)
        close(open[i]);
    close(further);
}

// Clock ticks that the server's process has computed for.
static unsigned long long ticks(void)
{
    char name[64], text[1024];
    unsigned long long user, system;
    snprintf(name, sizeof name, "/proc/%ld/stat", (long)server_process);
    FILE *f = fopen(name, "r");
    cr_assert_not_null(f);
    const bool read = fgets(text, sizeof text, f);
    fclose(f);
    cr_assert(read && sscanf(strrchr(text, ')'),
                             ") %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                             "%llu %llu",
                             &user, &system) == 2);
    return user + system;
}

// Until it computes no more; how long it has since `before`.
static unsigned long long ticks_until_idle(unsigned long long before)
{
    unsigned long long now = ticks(), last;
    do {
        last = now;
        usleep(400000);
        now = ticks();
    } while (now - last > 4);
    return now - before;
}

#ifdef __linux__
// Sixteen who ask for a long text, whole or in pieces, and leave: nearly nothing is computed for
// them, where a single one who stays costs hundreds of passes.
Test(server, computes_nothing_for_those_who_have_left)
{
    static const char *const asked[] = {
        "{\"prompt\": \"a\", \"max_tokens\": 900}",
        "{\"prompt\": \"a\", \"max_tokens\": 900, \"stream\": true}"};
    unsigned long long before = ticks();
    expect(sent("/v1/completions", asked[0]), "\"finish_reason\":\"length\"");
    const unsigned long long one = ticks_until_idle(before);
    for (size_t streams = 0; streams < 2; streams++) {
        before = ticks();
        for (size_t i = 0; i < 16; i++)
            close(sent("/v1/completions", asked[streams]));
        const unsigned long long many = ticks_until_idle(before);
        cr_assert_lt(many, one + 20, "%llu ticks for 16, %llu for one", many, one);
    }
}
#endif

// Half a request, half a body, and clients that leave in the middle of their text: the others are
// served.
Test(server, goes_on_whoever_is_slow_or_leaves)
{
    static const char half[] = "POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{";
    const int slow = connected(), silent = connected();
    cr_assert_gt(send(slow, half, sizeof half - 1, MSG_NOSIGNAL), 0);
    for (int i = 0; i < 30; i++)
        close(sent("/v1/completions",
                   i % 2 ? "{\"prompt\": \"a\", \"max_tokens\": 900}"
                         : "{\"prompt\": \"a\", \"max_tokens\": 900, \"stream\": true}"));
    expect(sent("/v1/completions", "{\"prompt\": \"ROMEO:\", \"max_tokens\": 8}"),
           "\"text\":\"\\nI have a gentleman\"");
    close(slow);
    close(silent);
}

// A model of bytes: its random weights, small enough for finite logits, choose any of them.
static void start_on_bytes(void)
{
    support_model *m = support_model_make(
        (config){.L = 1, .C = 8, .H = 2, .F = 32, .V = 257, .T = 300, .eps = 1e-5f}, "F32", "");
    uint64_t state = 1;
    for (size_t i = 0; i < m->count; i++)
        for (size_t b = 0; b < m->tensors[i].bytes; b += sizeof(float)) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            const float x = (float)(state >> 40) * 0x1p-24f - 0.5f;
            memcpy(m->tensors[i].data + b, &x, sizeof x);
        }
    support_enter_folder();
    support_write_tokenizer(".", "");
    support_model_write(m, ".");
    support_model_free(m);
    start_on(".");
}

static void end_bytes(void)
{
    end();
    support_leave_folder();
}

// The text of the pieces, one behind the other; how long it is. A model of bytes may write a zero.
static size_t join_pieces(const char *stream, char *text)
{
    size_t n = 0;
    for (const char *event = stream; (event = strstr(event, "data: {")); event++) {
        json_t *piece = json_loads(event + 6, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL),
               *more =
                   json_object_get(json_array_get(json_object_get(piece, "choices"), 0), "text");
        cr_assert(json_is_string(more), "%.200s", event);
        memcpy(text + n, json_string_value(more), json_string_length(more));
        n += json_string_length(more);
        json_decref(piece);
    }
    return n;
}

// A character is not cut in two: what has come of it is held back until the rest has.
Test(server_bytes, pieces_are_the_whole_text, .init = start_on_bytes, .fini = end_bytes,
     .timeout = 60)
{
    static char joined[ANSWER], asked[256];
    size_t characters = 0;
    for (int seed = 0; seed < 12; seed++) {
        snprintf(asked, sizeof asked,
                 "{\"prompt\": \"a\", \"max_tokens\": 290, \"seed\": %d, \"temperature\": 1}",
                 seed);
        const char *answer = received(sent("/v1/completions", asked));
        json_t *whole =
                   json_loads(strchr(answer, '{'), JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL),
               *text =
                   json_object_get(json_array_get(json_object_get(whole, "choices"), 0), "text");
        cr_assert(json_is_string(text), "%s", answer);
        strcpy(strchr(asked, '}'), ", \"stream\": true}");
        const size_t n = join_pieces(received(sent("/v1/completions", asked)), joined);
        cr_assert(n == json_string_length(text) && memcmp(joined, json_string_value(text), n) == 0,
                  "seed %d", seed);
        for (size_t i = 0; i < n; i++)
            characters += (unsigned char)joined[i] >= 0xc2 && (unsigned char)joined[i] <= 0xdf;
        json_decref(whole);
    }
    cr_assert_gt(characters, 12, "%zu of two bytes", characters);
}

// One byte now and then: no byte is late, all of them together are.
static void trickle(int fd, size_t n)
{
    static const char head[] = "GET /v1/models HTTP/1.1\r\nX: ";
    send(fd, n < sizeof head - 1 ? head + n : "x", 1, MSG_NOSIGNAL);
}

static void serve_for_a_second(void)
{
    const options o = {.model = SOURCE_DIR "/common/models/shakespeare", .tokens = 1};
    service *v;
    if (!service_open(&o, &v))
        server_run(v, ntohs(at.sin_port), 1);
    _exit(1);
}

static void start_impatient(void)
{
    choose_port();
    server_process = fork();
    if (server_process == 0)
        serve_for_a_second();
}

static void end_at_once(void)
{
    kill(server_process, SIGKILL);
    waitpid(server_process, NULL, 0);
}

Test(server_limits, a_request_that_never_ends_is_ended, .init = start_impatient,
     .fini = end_at_once, .timeout = 60)
{
    const int fd = connected();
    char answer;
    ssize_t came = -1;
    for (size_t n = 0; n < 150 && came < 0; n++) {
        trickle(fd, n);
        usleep(100000);
        came = recv(fd, &answer, 1, MSG_DONTWAIT);
    }
    if (came != 0) // before the assertion: a failure does not come back for .fini
        end_at_once();
    cr_assert_eq(came, 0, "the connection is still open");
    close(fd);
    expect(sent("/v1/models", ""), "HTTP/1.1 405");
}

// Of one whose client takes each piece as it comes, none is late, however long the whole takes.
Test(server_limits, a_stream_that_is_read_goes_on_beyond_the_limit, .init = start_impatient,
     .fini = end_at_once, .timeout = 60)
{
    int fd[12];
    for (size_t i = 0; i < 12; i++)
        fd[i] =
            sent("/v1/completions", "{\"prompt\": \"a\", \"max_tokens\": 1000, \"stream\": true}");
    static char text[12][1 << 20];
    size_t n[12] = {0}, open = 12;
    const uint64_t begin = clock_ns();
    while (open > 0) {
        fd_set these;
        FD_ZERO(&these);
        for (size_t i = 0; i < 12; i++)
            if (fd[i] >= 0)
                FD_SET(fd[i], &these);
        if (select(FD_SETSIZE, &these, NULL, NULL, &(struct timeval){.tv_sec = 20}) <= 0)
            break;
        for (size_t i = 0; i < 12; i++) {
            if (fd[i] < 0 || !FD_ISSET(fd[i], &these))
                continue;
            const ssize_t more = recv(fd[i], text[i] + n[i], sizeof *text - 1 - n[i], 0);
            n[i] += more > 0 ? (size_t)more : 0;
            if (more <= 0) {
                close(fd[i]);
                fd[i] = -1;
                open--;
            }
        }
    }
    const double seconds = (double)(clock_ns() - begin) * 1e-9;
    size_t whole = 0;
    for (size_t i = 0; i < 12; i++)
        whole += strstr(text[i], "data: [DONE]\n\n") != NULL;
    if (whole < 12 || seconds < 1.5)
        end_at_once();
    cr_assert_eq(whole, 12, "%zu of 12 streams are whole", whole);
    cr_assert_gt(seconds, 1.5, "too short to show it: %f s", seconds);
}
