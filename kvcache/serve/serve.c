// Opens what both ways share.
#include "kvcache/serve/serve.h"

#include "kvcache/serve/lines.h"
#include "kvcache/serve/server.h"

status serve(const options *o)
{
    service *v;
    status s = service_open(o, &v);
    if (s)
        return s;
    s = o->serve ? server_run(v, o->serve, SERVER_EXCHANGE_SECONDS) : lines_serve(v, o->requests);
    service_close(v);
    return s;
}
