// libmicrohttpd without threads of its own: it is run between two passes.
#include "kvcache/serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/size.h"
#include "common/generate/generate.h"
#include "common/text/utf8.h"
#include "kvcache/serve/answer.h"

enum { IDLE_MS = 200 }; // between two looks for a signal

typedef struct MHD_Connection connection;
typedef struct MHD_Response response;

typedef struct server server;

// A client's connection, for several requests one after the other.
typedef struct client {
    int fd;
    bool expected;  // it has to send, or to read,
    uint64_t since; // from this time on (ns)
    struct client *next;
} client;

// One HTTP request, from its first header to the last byte of its answer.
typedef struct exchange {
    server *of;
    connection *c;
    bool suspended; // it waits for its job
    bool left;      // the client has closed the connection meanwhile
    char *body;     // (bytes)
    size_t bytes;
    bool too_large, no_memory;
    job *j;
    size_t number; // of its id
    // A streamed answer.
    bool streams, begun, ended;
    size_t told; // bytes of the text
    char *out;   // what is to be sent next: bytes at..n - 1
    size_t at, n;
    struct exchange *next;
} exchange;

struct server {
    service *v;
    struct MHD_Daemon *daemon;
    exchange *first; // all there are
    client *clients;
    size_t numbers;
};

// ---- clients ----

static client *client_of(connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

// From now on it is the client's turn, or it is no longer.
static void expect_client(connection *c, bool expected)
{
    client *of = client_of(c);
    if (of)
        *of = (client){of->fd, expected, clock_ns(), of->next};
}

static void come_or_go(void *of, connection *c, void **memory,
                       enum MHD_ConnectionNotificationCode why)
{
    server *all = of;
    client *its = *memory, **at = &all->clients;
    if (why == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        its = *memory = info ? memory_array(1, sizeof *its) : NULL;
        if (its) {
            *its = (client){info->connect_fd, true, clock_ns(), all->clients};
            all->clients = its;
        }
        return;
    }
    while (its && *at != its)
        at = &(*at)->next;
    if (its)
        *at = its->next;
    memory_free(its);
}

// Ends the connections of those that have been expected for too long; libmicrohttpd sees that.
static void end_late_ones(const server *all, unsigned seconds)
{
    const uint64_t now = clock_ns(), limit = (uint64_t)seconds * 1000000000u;
    for (const client *its = all->clients; its; its = its->next)
        if (its->expected && now - its->since > limit)
            shutdown(its->fd, SHUT_RDWR);
}

// ---- answers ----

static enum MHD_Result queue(connection *c, unsigned code, response *r, const char *type)
{
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    const enum MHD_Result result = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return result;
}

// Takes `text`, from malloc or NULL.
static response *made_of(char *text)
{
    return text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
}

static enum MHD_Result send_text(connection *c, unsigned code, char *text)
{
    return queue(c, code, made_of(text), "application/json");
}

static enum MHD_Result refuse(connection *c, unsigned code, const char *message)
{
    return send_text(c, code, answer_error(message, NULL, NULL, code < 500, 0));
}

// The path has another method.
static enum MHD_Result refuse_method(connection *c, const char *method, const char *message)
{
    response *r = made_of(answer_error(message, NULL, NULL, true, 0));
    if (r)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, method);
    return queue(c, MHD_HTTP_METHOD_NOT_ALLOWED, r, "application/json");
}

static unsigned code_of(const job_view *j)
{
    if (!j->failure)
        return MHD_HTTP_OK;
    if (!j->refused)
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    return j->request->code && strcmp(j->request->code, "model_not_found") == 0
               ? MHD_HTTP_NOT_FOUND
               : MHD_HTTP_BAD_REQUEST;
}

// ---- a stream ----

// "data: TEXT\n\n" behind what is to be sent. Takes `text`.
static bool add_event(exchange *x, char *text)
{
    const size_t n = text ? strlen(text) : 0;
    char *longer = text ? memory_resize(x->out, x->n + n + 8, 1) : NULL;
    if (longer) {
        x->out = longer;
        memcpy(x->out + x->n, "data: ", 6);
        memcpy(x->out + x->n + 6, text, n);
        memcpy(x->out + x->n + 6 + n, "\n\n", 2);
        x->n += n + 8;
    }
    free(text);
    return longer != NULL;
}

// Bytes of new text that end with a whole character, or all of them at the end.
static size_t whole_characters(const exchange *x, const job_view *j)
{
    size_t n = x->told;
    while (n < j->final) {
        const int length = utf8_sequence(j->text + n, j->final - n);
        const size_t bytes = (size_t)(length < 0 ? -length : length);
        if (length < 0 && n + bytes == j->final && !j->finish)
            break;
        n += bytes;
    }
    return n - x->told;
}

// What has come of the job since the last call, as events. False: no memory.
static bool add_events(exchange *x)
{
    const job_view j = job_look(x->j);
    const char *model_name = service_model(x->of->v);
    const size_t n = j.failure ? 0 : whole_characters(x, &j);
    bool done = true;
    x->at = x->n = 0;
    if (n > 0 || (!x->begun && !j.failure))
        done = add_event(
            x, answer_piece(&j, model_name, x->number, j.text + x->told, n, !x->begun, NULL));
    x->begun = true;
    x->told += n;
    if (j.failure)
        done = add_event(x, answer_whole(&j, model_name, x->number, 0));
    else if (j.finish) {
        done &= add_event(x, answer_piece(&j, model_name, x->number, "", 0, false, j.finish));
        if (j.request->usage)
            done &= add_event(x, answer_usage(&j, model_name, x->number));
    }
    x->ended = j.failure || j.finish;
    return done && (!x->ended || add_event(x, strdup("[DONE]")));
}

// Whether there is something that the client has not been told.
static bool has_news(const exchange *x)
{
    const job_view j = job_look(x->j);
    return j.finish || j.failure || (x->streams && whole_characters(x, &j) > 0);
}

static void suspend(exchange *x)
{
    expect_client(x->c, false);
    MHD_suspend_connection(x->c);
    x->suspended = true;
}

// libmicrohttpd asks for up to `most` bytes of a stream, when those before have been taken.
static ssize_t read_stream(void *of, uint64_t position, char *to, size_t most)
{
    exchange *x = of;
    (void)position;
    if (x->left)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    expect_client(x->c, true);
    if (x->at == x->n) {
        if (x->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (x->begun && !has_news(x)) {
            suspend(x);
            return 0;
        }
        if (!add_events(x))
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    const size_t n = size_min(most, x->n - x->at);
    memcpy(to, x->out + x->at, n);
    x->at += n;
    return (ssize_t)n;
}

// ---- requests ----

// The job has ended, or streams.
static enum MHD_Result answer_job(exchange *x)
{
    const job_view j = job_look(x->j);
    if (!x->streams || j.failure)
        return send_text(x->c, code_of(&j),
                         answer_whole(&j, service_model(x->of->v), x->number, 0));
    return queue(x->c, MHD_HTTP_OK,
                 MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, x, NULL),
                 "text/event-stream");
}

static enum MHD_Result begin_job(exchange *x, request_kind kind)
{
    if (x->too_large)
        return refuse(x->c, MHD_HTTP_CONTENT_TOO_LARGE,
                      "a request has at most 1048576 bytes: shorten it");
    if (x->no_memory)
        return refuse(x->c, MHD_HTTP_INTERNAL_SERVER_ERROR, memory_failed("a request"));
    x->number = ++x->of->numbers;
    status s = service_add(x->of->v, "the request", x->body ? x->body : "", x->bytes, kind, &x->j);
    if (s)
        return refuse(x->c, MHD_HTTP_INTERNAL_SERVER_ERROR, s);
    const job_view j = job_look(x->j);
    x->streams = j.request->stream;
    if (j.failure || x->streams)
        return answer_job(x);
    suspend(x);
    return MHD_YES;
}

// A page in a browser can send requests to this machine as well, and says where it is from; one
// whose name was made to mean this machine has that name as Host (DNS rebinding). Neither is
// served.
static bool is_from_here(connection *c)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    if (MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN))
        return false;
    for (size_t i = 0; host && i < sizeof names / sizeof *names; i++) {
        const size_t n = strlen(names[i]);
        if (strncasecmp(host, names[i], n) == 0 && (host[n] == '\0' || host[n] == ':'))
            return true;
    }
    return !host;
}

static enum MHD_Result route(exchange *x, const char *url, const char *method)
{
    if (!is_from_here(x->c))
        return refuse(x->c, MHD_HTTP_FORBIDDEN,
                      "pages of a browser are not served: send the request from a program, to "
                      "localhost or 127.0.0.1, without Origin");
    const bool completions = strcmp(url, "/v1/completions") == 0,
               chat = strcmp(url, "/v1/chat/completions") == 0,
               models = strcmp(url, "/v1/models") == 0;
    if (!completions && !chat && !models)
        return refuse(x->c, MHD_HTTP_NOT_FOUND,
                      "there is no such path: use /v1/completions, /v1/chat/completions or "
                      "/v1/models");
    if (models && strcmp(method, "GET") != 0)
        return refuse_method(x->c, "GET", "/v1/models is asked for with GET");
    if (!models && strcmp(method, "POST") != 0)
        return refuse_method(x->c, "POST", "a request is sent with POST");
    if (models)
        return send_text(x->c, MHD_HTTP_OK, answer_models(service_model(x->of->v)));
    return begin_job(x, chat ? REQUEST_CHAT : REQUEST_TEXT);
}

static void take_body(exchange *x, const char *data, size_t n)
{
    x->too_large = x->too_large || x->bytes + n > REQUEST_BYTES;
    if (x->too_large || x->no_memory)
        return;
    char *longer = memory_resize(x->body, x->bytes + n, 1);
    x->no_memory = !longer;
    if (!longer)
        return;
    memcpy(longer + x->bytes, data, n);
    x->body = longer;
    x->bytes += n;
}

// libmicrohttpd has headers, a part of the body, its end, or a connection that goes on.
static enum MHD_Result take(void *of, connection *c, const char *url, const char *method,
                            const char *version, const char *data, size_t *n, void **memory)
{
    server *all = of;
    exchange *x = *memory;
    (void)version;
    if (!x) {
        x = *memory = memory_array(1, sizeof *x);
        if (!x)
            return MHD_NO;
        *x = (exchange){.of = all, .c = c, .next = all->first};
        all->first = x;
        return MHD_YES;
    }
    if (*n > 0) {
        take_body(x, data, *n);
        *n = 0;
        return MHD_YES;
    }
    if (x->left)
        return MHD_NO;
    return x->j ? answer_job(x) : route(x, url, method);
}

// The answer is sent, or the client has gone: then its job ends, too.
static void finish(void *of, connection *c, void **memory, enum MHD_RequestTerminationCode why)
{
    server *all = of;
    exchange *x = *memory, **at = &all->first;
    (void)why;
    if (!x)
        return;
    expect_client(c, true);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    job_close(x->j);
    memory_free(x->body);
    memory_free(x->out);
    memory_free(x);
    *memory = NULL;
}

// ---- the server ----

// libmicrohttpd does not look at a connection that is suspended.
static bool has_left(const exchange *x)
{
    const client *its = client_of(x->c);
    char byte;
    const ssize_t n = its ? recv(its->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : 1;
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void resume(server *all, bool every)
{
    for (exchange *x = all->first; x; x = x->next) {
        if (!x->suspended)
            continue;
        x->left = has_left(x);
        if (every || x->left || has_news(x)) {
            x->suspended = false;
            expect_client(x->c, true);
            MHD_resume_connection(x->c);
        }
    }
}

static status start(server *all, size_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    errno = 0;
    all->daemon = MHD_start_daemon(
        MHD_ALLOW_SUSPEND_RESUME, (uint16_t)port, NULL, NULL, take, all, MHD_OPTION_SOCK_ADDR, &at,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)SERVER_CONNECTIONS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SERVER_SECONDS, MHD_OPTION_NOTIFY_COMPLETED,
        finish, all, MHD_OPTION_NOTIFY_CONNECTION, come_or_go, all, MHD_OPTION_END);
    if (!all->daemon)
        return status_fail("cannot listen on 127.0.0.1:%zu: %s: choose another port", port,
                           errno ? strerror(errno) : "libmicrohttpd refuses");
    fprintf(stderr, "kvcache: http://127.0.0.1:%zu/v1 serves %s; Ctrl-C ends it\n", port,
            service_model(all->v));
    return NULL;
}

status server_run(service *v, size_t port, unsigned seconds)
{
    server all = {.v = v};
    size_t left = 0;
    status s = start(&all, port);
    if (s)
        return s;
    while (!s && !generate_interruption()) {
        if (MHD_run_wait(all.daemon, left > 0 ? 0 : IDLE_MS) != MHD_YES)
            s = status_fail("the server cannot go on: %s: start it again", strerror(errno));
        if (!s)
            s = service_pass(v, &left);
        resume(&all, false);
        end_late_ones(&all, seconds);
    }
    char why[1024] = ""; // jobs that are closed may fail, too
    if (s)
        snprintf(why, sizeof why, "%s", s);
    resume(&all, true);
    MHD_stop_daemon(all.daemon);
    return s ? status_fail("%s", why)
             : status_fail("the server was ended by signal %d", generate_interruption());
}
