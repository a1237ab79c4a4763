/* server/routes.c - see routes.h. A dozen paths: a linear search costs less than any table would.
 */
#include "server/routes.h"

static const struct route routes[] = {
    {"/v1/events", "events", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_events},
    {"/v1/batch", "batch", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_segment_batch},
    {"/v1/track", "track", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_segment_single},
    {"/v1/identify", "identify", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_segment_single},
    {"/v1/page", "page", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_segment_single},
    {"/v1/screen", "screen", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_segment_single},
    {"/v1/group", "group", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_segment_single},
    {"/v1/alias", "alias", "POST", DOOR_EVENTS, ROUTE_INGEST_POOL, door_segment_single},
    {"/v1/query", "query", "GET, POST", DOOR_QUERY, ROUTE_QUERY_POOL, door_query},
    {"/v1/export", "export", "POST", DOOR_QUERY, ROUTE_QUERY_POOL, door_export},
    {"/v1/datasets", "datasets", "GET", DOOR_ADMIN, ROUTE_INLINE, door_datasets},
    {"/v1/admin/flush", "flush", "POST", DOOR_ADMIN, ROUTE_ADMIN_POOL, door_flush},
    {"/v1/admin/compact", "compact", "POST", DOOR_ADMIN, ROUTE_ADMIN_POOL, door_compact},
    {"/v1/admin/settings", "settings", "GET, POST", DOOR_ADMIN, ROUTE_ADMIN_POOL, door_settings},
    {"/v1/admin/identity", "identity", "GET, POST", DOOR_ADMIN, ROUTE_ADMIN_POOL, door_identity},
    {"/v1/admin/metrics", "catalogue", "POST", DOOR_ADMIN, ROUTE_ADMIN_POOL, door_catalogue},
    {"/v1/admin/backup", "backup", "POST", DOOR_BACKUP, ROUTE_ADMIN_POOL, door_backup},
    {"/trackway.v1.QueryService/Query", "rpc_query", "GET, POST", DOOR_RPC, ROUTE_QUERY_POOL,
     door_rpc},
    {"/trackway.v1.IngestService/Ingest", "rpc_ingest", "POST", DOOR_RPC, ROUTE_INGEST_POOL,
     door_rpc},
    {"/healthz", "healthz", "GET", DOOR_ADMIN, ROUTE_INLINE, door_healthz},
    {"/readyz", "readyz", "GET", DOOR_ADMIN, ROUTE_INLINE, door_readyz},
    {"/metrics", "metrics", "GET", DOOR_ADMIN, ROUTE_INLINE, door_metrics},
};
_Static_assert(COUNT_OF(routes) < METRICS_ROUTES_MAX, "the metrics have a row for each route");

const struct route *route_find(struct str path)
{
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (str_eq(path, str_of(routes[i].path))) {
            return &routes[i];
        }
    }
    return NULL;
}

bool route_allows(const struct route *route, struct str method)
{
    struct str rest = str_of(route->allow);
    if (memchr(method.ptr, ',', method.len) != NULL) {
        return false;
    }
    if (str_eq(method, STR("HEAD"))) { /* wherever GET is; the body is left out when it is sent */
        method = STR("GET");
    }
    while (rest.len >= method.len) {
        if (str_starts(rest, method) && (rest.len == method.len || rest.ptr[method.len] == ',')) {
            return true;
        }
        const char *comma = memchr(rest.ptr, ',', rest.len);
        if (comma == NULL) {
            return false;
        }
        size_t step = (size_t)(comma - rest.ptr) + 2; /* ", " */
        rest = (struct str){rest.ptr + step, rest.len - step};
    }
    return false;
}

uint32_t route_idx(const struct route *route)
{
    return route == NULL ? COUNT_OF(routes) : (uint32_t)(route - routes);
}

uint32_t route_count(void)
{
    return COUNT_OF(routes);
}

const char *route_label(uint32_t idx)
{
    return idx < COUNT_OF(routes) ? routes[idx].label : "none";
}
