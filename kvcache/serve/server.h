// Requests over HTTP, as clients of OpenAI's API send them, on the loopback interface alone:
//
//     POST /v1/completions          {"prompt": ...}
//     POST /v1/chat/completions     {"messages": [...]}
//     GET  /v1/models
#ifndef LOCKSTEP_SERVER_H
#define LOCKSTEP_SERVER_H

#include "kvcache/serve/service.h"

enum {
    SERVER_CONNECTIONS = 64,
    SERVER_CONNECTION_BYTES = 32768, // of request line, headers and what waits to be sent
    SERVER_SECONDS = 30,         // without a byte from a client that is expected to send or read
    SERVER_EXCHANGE_SECONDS = 60 // for all of a request, and for what there is of its answer
};

// Serves until a signal asks for an end (common/generate/generate.h), and returns the failure that
// says so. One thread does all: what has come from clients is taken, then a pass is computed. A
// port in use is refused. A client has `seconds` to send all of a request, from its connection or
// its last answer on, and as many to read what there is of its answer: byte by byte it could keep a
// connection for ever.
status server_run(service *v, size_t port, unsigned seconds);

#endif
