/* tests/e2e/test_http_doors.c - every door of trackwayd, from outside: what it takes, what it refuses
 * and how, and what happens to it when clients hang up, overload it, or it is told to stop.
 *
 * usage: test_http_doors PATH-OF-TRACKWAYD */
#include "tests/e2e/server_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/clock.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define NDJSON "content-type: application/x-ndjson"
#define JSON   "content-type: application/json"
#define TEXT   "content-type: text/plain"

static struct server_process server;

static int start_server(void **state)
{
    (void)state;
    server_start(&server, (const char *const[]){"--body-bytes-max", "256 KiB", NULL});
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    int status = server_stop(&server, SIGTERM);
    server_remove(&server);
    return status;
}

/* Make the call and check status, and a piece of the body (NULL: any). */
static void expect(const struct call *call, long status, const char *piece)
{
    struct reply reply;
    server_call(&server, call, &reply);
    if (reply.status != status ||
        (piece != NULL && strstr((const char *)reply.body.ptr, piece) == NULL)) {
        fail_msg("%s: %ld %s; expected %ld with %s", call->path, reply.status, reply.body.ptr,
                 status, piece == NULL ? "anything" : piece);
    }
    reply_done(&reply);
}

static void expect_header(const struct call *call, long status, const char *name, const char *value)
{
    struct reply reply;
    server_call(&server, call, &reply);
    assert_int_equal(reply.status, status);
    assert_string_equal(reply_header(&reply, name), value);
    reply_done(&reply);
}

/* The events named `name` in a data set, asked in JSON. */
static void expect_count(const char *dataset, const char *name, const char *rows)
{
    char path[128];
    char query[128];
    snprintf(path, sizeof(path), "/v1/query?dataset=%s", dataset);
    snprintf(query, sizeof(query), "trend count(%s)", name);
    expect(&(struct call){.path = path, .headers = {TEXT}, .body = query}, 200, rows);
}

static void gzip(const void *bytes, size_t len, struct buf *out)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t bound = deflateBound(&stream, len);
    stream.next_out = buf_reserve(out, bound);
    stream.avail_out = (uInt)bound;
    memcpy(&stream.next_in, &bytes, sizeof(bytes));
    stream.avail_in = (uInt)len;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out->len += stream.total_out;
    deflateEnd(&stream);
}

static void events_sent_are_in_the_next_answer(void **state)
{
    (void)state;
    struct call call = {.path = "/v1/events?dataset=ask", .headers = {NDJSON}};
    call.body = "{\"event_id\":\"1\",\"event_name\":\"view\",\"user_id\":\"ann\"}\n"
                "{\"event_id\":\"2\",\"event_name\":\"view\",\"user_id\":\"bob\"}\n"
                "{\"event_id\":\"3\",\"event_name\":\"buy\",\"user_id\":\"bob\"}";
    expect(&call, 200, "\"accepted\":3,\"duplicate\":0,\"rejected\":0");
    expect_count("ask", "view", "\"rows\":[[2]]");
    expect(&call, 200, "\"accepted\":0,\"duplicate\":3,\"rejected\":0");
    expect_count("ask", "view", "\"rows\":[[2]]");
}

static void a_broken_line_does_not_reject_the_others(void **state)
{
    (void)state;
    struct call call = {.path = "/v1/events?dataset=lines", .headers = {NDJSON}};
    call.body = "{\"event_name\":\"a\",\"user_id\":\"u\"}\n{\"event_name\":\n"
                "{\"event_name\":\"b\",\"user_id\":\"u\"}\n";
    expect(&call, 200, "\"accepted\":2,\"duplicate\":0,\"rejected\":1");
    call.path = "/v1/events?dataset=lines&receipts=counts";
    expect(&call, 200, "\"accepted\":2");
    call.body = "this is no NDJSON";
    expect(&call, 400, "\"code\":\"invalid\"");
}

static void protobuf_batches_are_taken(void **state)
{
    (void)state;
    /* EventBatch.events = 2: { event_id = 1, event_name = 3, user_id = 5 } */
    static const char batch[] = "\x12\x0c"
                                "\x0a\x02p1"
                                "\x1a\x03pay"
                                "\x2a\x01u";
    expect(&(struct call){.path = "/v1/events?dataset=proto",
                          .headers = {"content-type: application/x-protobuf"},
                          .body = batch,
                          .body_len = sizeof(batch) - 1},
           200, "\"accepted\":1");
    expect_count("proto", "pay", "\"rows\":[[1]]");
}

static void segment_calls_are_taken(void **state)
{
    (void)state;
    expect(
        &(struct call){.path = "/v1/batch?dataset=seg",
                       .headers = {JSON, "authorization: Basic a2V5Og=="},
                       .body =
                           "{\"batch\":[{\"type\":\"track\",\"event\":\"seg_a\",\"userId\":\"u\","
                           "\"messageId\":\"m1\",\"timestamp\":\"2025-05-01T00:00:00Z\"}],"
                           "\"writeKey\":\"key\"}"},
        200, "\"success\":true");
    expect(&(struct call){.path = "/v1/track?dataset=seg",
                          .headers = {JSON},
                          .body = "{\"event\":\"seg_a\",\"userId\":\"u\",\"messageId\":\"m2\"}"},
           200, "\"success\":true");
    expect_count("seg", "seg_a", "\"rows\":[[2]]");
}

static void what_identify_calls_say_is_asked_of_their_users(void **state)
{
    (void)state;
    expect(&(struct call){.path = "/v1/identify?dataset=profiles",
                          .headers = {JSON},
                          .body = "{\"userId\":\"u1\",\"anonymousId\":\"w1\",\"traits\":{\"plan\":"
                                  "\"pro\",\"age\":41}}"},
           200, "\"success\":true");
    expect(
        &(struct call){.path = "/v1/events?dataset=profiles",
                       .headers = {NDJSON},
                       .body =
                           "{\"event_name\":\"$identify\",\"user_id\":\"u2\",\"plan\":\"free\"}\n"
                           "{\"event_name\":\"view\",\"user_id\":\"u2\"}\n"
                           "{\"event_name\":\"view\",\"anonymous_id\":\"w1\"}\n"
                           "{\"event_name\":\"view\",\"anonymous_id\":\"w2\"}\n"},
        200, "\"accepted\":4");
    struct call call = {.path = "/v1/query?dataset=profiles", .headers = {TEXT}};
    call.body = "trend count(view) as n by profile.plan";
    expect(&call, 200, "\"rows\":[[null,1],[\"free\",1],[\"pro\",1]]");
    call.body = "segment profile.plan = \"pro\" and profile.age > 40 and did(view) list users";
    expect(&call, 200, "\"rows\":[[\"u1\"]]");
    call.body = "trend sum(profile.age of any)";
    expect(&call, 501, "\"column\":11");
}

static void gzip_bodies_are_inflated_within_the_limit(void **state)
{
    (void)state;
    struct buf body = {0};
    static const char event[] = "{\"event_id\":\"g\",\"event_name\":\"zip\",\"user_id\":\"u\"}";
    struct call call = {.path = "/v1/events?dataset=zip",
                        .headers = {NDJSON, "content-encoding: gzip"}};
    gzip(event, sizeof(event) - 1, &body);
    call.body = (const char *)body.ptr;
    call.body_len = body.len;
    expect(&call, 200, "\"accepted\":1");
    call.body_len = body.len - 1;
    expect(&call, 400, "cut off");
    call.body = "not gzip at all";
    call.body_len = 0;
    expect(&call, 400, "\"code\":\"invalid\"");
    call.headers[1] = "content-encoding: br";
    expect(&call, 415, "content-encoding");
    buf_done(&body);
    char *zeroes = calloc(1, 8 << 20);
    gzip(zeroes, 8 << 20, &body);
    free(zeroes);
    call = (struct call){.path = "/v1/events",
                         .headers = {NDJSON, "content-encoding: gzip"},
                         .body = (const char *)body.ptr,
                         .body_len = body.len};
    expect(&call, 413, "\"code\":\"limit\"");
    call.path = "/v1/query";
    call.headers[0] = TEXT;
    expect(&call, 413, "\"code\":\"limit\"");
    buf_done(&body);
}

static void a_body_over_the_limit_is_413_on_both_protocols(void **state)
{
    (void)state;
    size_t len = 257 * 1024; /* 1 KiB over */
    char *body = malloc(len);
    memset(body, 'x', len);
    struct call call = {.path = "/v1/events", .headers = {NDJSON}, .body = body, .body_len = len};
    expect(&call, 413, "the limit is 262144");
    call.is_http2 = true;
    expect(&call, 413, "the limit is 262144");
    call.is_http2 = false;
    call.path = "/trackway.v1.IngestService/Ingest";
    call.headers[0] = JSON;
    expect(&call, 429, "\"code\":\"resource_exhausted\"");
    free(body);
}

static void answers_come_in_the_form_asked_for(void **state)
{
    (void)state;
    expect(&(struct call){.path = "/v1/events?dataset=form",
                          .headers = {NDJSON},
                          .body = "{\"event_name\":\"f\",\"user_id\":\"u\"}"},
           200, NULL);
    struct call call = {
        .path = "/v1/query?dataset=form", .headers = {TEXT}, .body = "trend count(f)"};
    expect_header(&call, 200, "content-type", "application/json");
    call.headers[1] = "accept: text/csv";
    expect_header(&call, 200, "content-type", "text/csv; charset=utf-8");
    call.headers[1] = "accept: text/html, application/x-ndjson;q=0.9, text/csv;q=0.1";
    expect_header(&call, 200, "content-type", "application/x-ndjson");
    call.headers[1] = "accept: application/proto";
    expect_header(&call, 200, "content-type", "application/proto");
    call.headers[1] = "accept: */*";
    expect_header(&call, 200, "content-type", "application/json");
    call.path = "/v1/query?dataset=form&format=csv";
    expect_header(&call, 200, "content-type", "text/csv; charset=utf-8");
    call.path = "/v1/query?dataset=form&format=xml";
    expect(&call, 400, "xml");
}

static void a_query_comes_as_text_json_or_url(void **state)
{
    (void)state;
    expect(&(struct call){.path = "/v1/events?dataset=ways",
                          .headers = {NDJSON},
                          .body = "{\"event_name\":\"w\",\"user_id\":\"u\",\"city\":\"Oslo\"}"},
           200, NULL);
    expect(&(struct call){.path = "/v1/query?dataset=ways",
                          .headers = {JSON},
                          .body = "{\"query\":\"trend count(w) where city = :c\","
                                  "\"params\":{\"c\":\"Oslo\"}}"},
           200, "\"rows\":[[1]]");
    expect(&(struct call){.path =
                              "/v1/query?dataset=ways&q=trend%20count(w)%20where%20city%20=%20:c"
                              "&param.c=Rome"},
           200, "\"rows\":[[0]]");
    expect(
        &(struct call){.path = "/v1/query?dataset=ways", .headers = {JSON}, .body = "{\"query\":"},
        400, "request body");
    expect(&(struct call){.path = "/v1/query?dataset=ways",
                          .headers = {JSON},
                          .body = "{\"queri\":\"trend count(w)\"}"},
           400, "queri");
    expect(&(struct call){.path = "/v1/query?dataset=ways", .headers = {JSON}, .body = "{}"}, 400,
           "no \\\"query\\\"");
    expect(&(struct call){.path = "/v1/query?dataset=ways"}, 400, "no query");
}

static void mistakes_are_answered_with_their_place(void **state)
{
    (void)state;
    struct call call = {.path = "/v1/query?dataset=ways", .headers = {TEXT}};
    call.body = "trend cuont(w)";
    expect(&call, 400, "\"column\":7");
    expect(&call, 400, "\"excerpt\":\"    trend cuont(w)\\n          ^");
}

static void what_does_not_exist_is_404(void **state)
{
    (void)state;
    struct call call = {
        .path = "/v1/query?dataset=never", .headers = {TEXT}, .body = "trend count(a)"};
    expect(&call, 404, "\"code\":\"not_found\"");
    call.path = "/v1/quer";
    expect(&call, 404, "\"code\":\"not_found\"");
    expect_header(&(struct call){.path = "/%76%31/query"}, 404, "content-type", "application/json");
    expect(&(struct call){.path = "/v1/admin/compact?dataset=never", .body = " "}, 404, "never");
}

static void what_is_not_taken_is_refused_with_what_is(void **state)
{
    (void)state;
    expect_header(&(struct call){.path = "/v1/query", .method = "DELETE"}, 405, "allow",
                  "GET, POST");
    expect_header(&(struct call){.path = "/v1/events"}, 405, "allow", "POST");
    expect_header(
        &(struct call){.path = "/v1/events", .headers = {"content-type: image/png"}, .body = "x"},
        415, "accept-post", "application/x-ndjson, application/x-protobuf");
    expect_header(
        &(struct call){.path = "/v1/query", .headers = {"content-type: text/xml"}, .body = "x"},
        415, "accept-post", "text/plain, application/json");
    expect(&(struct call){.path = "/v1/events?dataset=../etc", .headers = {NDJSON}, .body = "{}"},
           400, "\"code\":\"invalid\"");
    expect(&(struct call){.path = "/v1/events?dataste=x", .headers = {NDJSON}, .body = "{}"}, 400,
           "dataste");
    expect(&(struct call){.path = "/v1/query?dataset=%zz", .headers = {TEXT}, .body = "x"}, 400,
           "escape");
}

static void head_has_the_headers_and_no_body(void **state)
{
    (void)state;
    struct reply reply;
    server_call(&server, &(struct call){.path = "/healthz", .method = "HEAD"}, &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply_header(&reply, "content-length"), "3");
    assert_int_equal(reply.body.len, 0);
    reply_done(&reply);
}

static void connect_calls_are_answered_by_their_protocol(void **state)
{
    (void)state;
    struct call ingest = {.path = "/trackway.v1.IngestService/Ingest",
                          .headers = {JSON, "connect-protocol-version: 1"},
                          .body = "{\"dataset\":\"rpc\",\"batch\":{\"events\":[{\"eventId\":\"r1\","
                                  "\"eventName\":\"r\",\"userId\":\"u\"}]}}"};
    expect(&ingest, 200, "\"accepted\":\"1\"");
    struct call query = {.path = "/trackway.v1.QueryService/Query",
                         .headers = {JSON},
                         .body = "{\"dataset\":\"rpc\",\"query\":\"trend count(r)\"}"};
    expect(&query, 200, "\"rowCount\":\"1\"");
    expect_header(&query, 200, "content-type", "application/json");
    query.is_http2 = true;
    expect(&query, 200, "\"rowCount\":\"1\"");
    query.headers[1] = "connect-timeout-ms: 0";
    expect(&query, 504, "\"code\":\"deadline_exceeded\"");
    query.headers[1] = "connect-timeout-ms: soon";
    expect(&query, 400, "\"code\":\"invalid_argument\"");
    query.headers[1] = "content-encoding: zstd";
    expect(&query, 501, "\"code\":\"unimplemented\"");
    query.headers[1] = NULL;
    query.body = "{\"dataset\":\"never\",\"query\":\"trend count(r)\"}";
    expect(&query, 404, "\"code\":\"not_found\"");
    query.headers[0] = TEXT;
    expect_header(&query, 415, "accept-post", "application/proto, application/json");
    expect(&(struct call){.path =
                              "/trackway.v1.QueryService/Query?connect=v1&encoding=json&base64=1"
                              "&message=eyJkYXRhc2V0IjoicnBjIiwicXVlcnkiOiJ0cmVuZCBjb3VudChyKSJ9"},
           200, "\"rowCount\":\"1\"");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    static const char three[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
                                "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
                                "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char answer[4096];
    size_t len = 0;
    int fd = server_connect(&server);
    assert_int_equal(send(fd, three, sizeof(three) - 1, 0), sizeof(three) - 1);
    for (;;) {
        ssize_t got = recv(fd, answer + len, sizeof(answer) - 1 - len, 0);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
    }
    close(fd);
    answer[len] = '\0';
    const char *first = strstr(answer, "HTTP/1.1 200");
    assert_non_null(first);
    const char *second = strstr(first, "HTTP/1.1 404");
    assert_non_null(second);
    assert_non_null(strstr(second, "HTTP/1.1 200"));
}

static void long_answers_are_compressed_where_the_client_likes_it(void **state)
{
    (void)state;
    struct call call = {.path = "/metrics", .headers = {"accept-encoding: gzip"}};
    expect_header(&call, 200, "content-encoding", "gzip");
    call.headers[0] = "accept-encoding: gzip;q=0, identity";
    expect_header(&call, 200, "content-encoding", "");
}

static void data_sets_are_listed_flushed_and_compacted(void **state)
{
    (void)state;
    expect(&(struct call){.path = "/v1/events?dataset=admin",
                          .headers = {NDJSON},
                          .body = "{\"event_name\":\"a\",\"user_id\":\"u\"}"},
           200, NULL);
    expect(&(struct call){.path = "/v1/datasets"}, 200,
           "\"name\":\"admin\",\"time_zone\":\"UTC\",\"rows\":1");
    expect(&(struct call){.path = "/v1/admin/flush?dataset=admin", .body = " "}, 200,
           "\"memtable_rows\":0");
    expect(&(struct call){.path = "/v1/admin/compact?dataset=admin&wait=1", .body = " "}, 200,
           "\"name\":\"admin\"");
    expect(&(struct call){.path = "/v1/admin/compact?dataset=admin", .body = " "}, 202, NULL);
    expect_count("admin", "a", "\"rows\":[[1]]");
    assert_int_equal(server_metric(&server, "trackway_dataset_rows{dataset=\"admin\"}"), 1);
}

/* ---- conflicts and dead letters ---- */

/* Send "e1" with this amount to a data set: what the counts must be. */
static void send_amount(const char *dataset, int amount, const char *more, const char *counts)
{
    char path[160];
    char body[256];
    snprintf(path, sizeof(path), "/v1/events?dataset=%s", dataset);
    snprintf(body, sizeof(body),
             "{\"event_id\":\"e1\",\"event_name\":\"pay\",\"user_id\":\"u\",\"amount\":%d%s}",
             amount, more);
    expect(&(struct call){.path = path, .headers = {NDJSON}, .body = body}, 200, counts);
}

#define ONE_CONFLICT  "\"accepted\":0,\"duplicate\":0,\"rejected\":0,\"conflict\":1"
#define ONE_DUPLICATE "\"accepted\":0,\"duplicate\":1,\"rejected\":0,\"conflict\":0"

static void one_id_with_two_contents_is_a_conflict_in_one_body(void **state)
{
    (void)state;
    struct call call = {.path = "/v1/events?dataset=dl", .headers = {NDJSON}};
    call.body = "{\"event_id\":\"e1\",\"event_name\":\"pay\",\"user_id\":\"u\",\"amount\":1}\n"
                "{\"event_id\":\"e1\",\"event_name\":\"pay\",\"user_id\":\"v\",\"amount\":1.0,"
                "\"event_time\":1717200000000}\n"
                "{\"event_id\":\"e1\",\"event_name\":\"pay\",\"user_id\":\"u\",\"amount\":2}\n"
                "{\"event_id\":\"e1\",\"event_name\":\"paid\",\"user_id\":\"u\",\"amount\":1}\n";
    expect(&call, 200,
           "{\"accepted\":1,\"duplicate\":1,\"rejected\":0,\"conflict\":2,\"dead_letters\":"
           "\"dl.dead\",\"receipts\":[{\"line\":1,\"event_id\":\"e1\",\"status\":\"accepted\"},"
           "{\"line\":2,\"event_id\":\"e1\",\"status\":\"duplicate\"},"
           "{\"line\":3,\"event_id\":\"e1\",\"status\":\"conflict\",\"reason\":\"");
    call.path = "/v1/events?dataset=dl&receipts=rejected";
    expect(&call, 200, "\"receipts\":[{\"line\":3,\"event_id\":\"e1\",\"status\":\"conflict\"");
    expect_count("dl", "pay", "\"rows\":[[1]]");
    expect_count("dl.dead", "conflict", "\"rows\":[[2]]");
    struct call query = {.path = "/v1/query?dataset=dl.dead",
                         .headers = {TEXT, "accept: text/csv"}};
    query.body = "events conflict columns (reason, event_json)";
    expect(&query, 200,
           "an event with this event_id, but with another name or other properties, was accepted "
           "before");
    expect(&query, 200, "\"\"amount\"\":2");
    query.body = "events conflict columns (event_id, user_id, original_event_id, "
                 "original_event_name, original_event_time)";
    expect(&query, 200, ",u,e1,paid,");
    assert_int_equal(
        server_metric(&server, "trackway_dataset_events_conflict_total{dataset=\"dl\"}"), 4);
    assert_true(server_metric(&server, "trackway_events_conflict_total") >= 4);
    expect(&(struct call){.path = "/v1/datasets"}, 200, "\"conflicts\":4");
}

/* Wherever the first one lies: a memtable, a segment, a log read again, a merged segment. */
static void a_conflict_is_one_wherever_the_first_event_lies(void **state)
{
    (void)state;
    struct server_process outer = server;
    const struct call flush = {.path = "/v1/admin/flush?dataset=lies", .body = " "};
    const struct call compact = {.path = "/v1/admin/compact?dataset=lies&wait=1", .body = " "};
    const struct call compact_dead = {.path = "/v1/admin/compact?dataset=lies.dead&wait=1",
                                      .body = " "};
    server_start(&server, NULL);
    send_amount("lies", 1, "", "\"accepted\":1");
    send_amount("lies", 2, "", ONE_CONFLICT);
    assert_int_equal(server_stop(&server, SIGKILL), 128 + SIGKILL);
    server_restart(&server, NULL);
    send_amount("lies", 1, "", ONE_DUPLICATE);
    send_amount("lies", 3, "", ONE_CONFLICT);
    expect_count("lies.dead", "conflict", "\"rows\":[[2]]");
    expect(&flush, 200, NULL);
    send_amount("lies", 1, "", ONE_DUPLICATE);
    send_amount("lies", 4, "", ONE_CONFLICT);
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    server_restart(&server, NULL);
    send_amount("lies", 1, "", ONE_DUPLICATE);
    send_amount("lies", 5, "", ONE_CONFLICT);
    expect(&(struct call){.path = "/v1/events?dataset=lies",
                          .headers = {NDJSON},
                          .body = "{\"event_id\":\"e2\",\"event_name\":\"pay\",\"user_id\":\"u\"}"},
           200, "\"accepted\":1");
    expect(&compact, 200, "\"conflicts\":1");
    expect(&compact_dead, 200, NULL);
    send_amount("lies", 1, "", ONE_DUPLICATE);
    send_amount("lies", 6, "", ONE_CONFLICT);
    expect_count("lies", "pay", "\"rows\":[[2]]");
    expect_count("lies.dead", "conflict", "\"rows\":[[5]]");
    assert_int_equal(server_metric(&server, "trackway_dataset_id_runs{dataset=\"lies\"}"), 1);
    assert_true(server_metric(&server, "trackway_dataset_id_run_bytes{dataset=\"lies\"}") > 0);
    assert_int_equal(server_metric(&server, "trackway_dataset_known_hits_total{dataset=\"lies\"}"),
                     4);
    assert_int_equal(
        server_metric(&server, "trackway_dataset_known_misses_total{dataset=\"lies\"}"), 0);
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    server_remove(&server);
    server = outer;
}

static void a_conflict_that_is_sent_again_makes_no_second_letter(void **state)
{
    (void)state;
    send_amount("again", 1, "", "\"accepted\":1");
    send_amount("again", 2, "", ONE_CONFLICT);
    send_amount("again", 2, "", ONE_CONFLICT);
    send_amount("again", 2, ",\"event_time\":1717200000000", ONE_CONFLICT);
    expect(&(struct call){.path = "/v1/admin/flush?dataset=again.dead", .body = " "}, 200, NULL);
    send_amount("again", 2, "", ONE_CONFLICT);
    expect_count("again.dead", "conflict", "\"rows\":[[1]]");
}

static void dead_letters_make_no_dead_letters(void **state)
{
    (void)state;
    send_amount("own.dead", 1, "", "\"accepted\":1");
    send_amount("own.dead", 2, "", ONE_CONFLICT ",\"receipts\"");
    expect(&(struct call){.path = "/v1/query?dataset=own.dead.dead",
                          .headers = {TEXT},
                          .body = "show events"},
           404, NULL);
}

static void a_long_name_has_dead_letters_too(void **state)
{
    (void)state;
    static const char name[] = "long-3456789-123456789-123456789-123456789-123456789-123456789-1";
    char dead[80];
    struct reply reply;
    char body[] = "{\"event_id\":\"e1\",\"event_name\":\"pay\",\"user_id\":\"u\",\"amount\":2}";
    char path[160];
    assert_int_equal(strlen(name), 64);
    send_amount(name, 1, "", "\"accepted\":1");
    snprintf(path, sizeof(path), "/v1/events?dataset=%s&receipts=counts", name);
    server_call(&server, &(struct call){.path = path, .headers = {NDJSON}, .body = body}, &reply);
    const char *at = strstr((const char *)reply.body.ptr, "\"dead_letters\":\"");
    assert_non_null(at);
    snprintf(dead, sizeof(dead), "%.64s", at + strlen("\"dead_letters\":\""));
    reply_done(&reply);
    assert_memory_equal(dead, name, 42);
    assert_string_equal(dead + 59, ".dead");
    expect_count(dead, "conflict", "\"rows\":[[1]]");
}

static void connect_and_segment_clients_see_conflicts(void **state)
{
    (void)state;
    struct call call = {.path = "/trackway.v1.IngestService/Ingest", .headers = {JSON}};
    call.body =
        "{\"dataset\":\"rpcdl\",\"batch\":{\"events\":[{\"eventId\":\"r1\",\"eventName\":\"r\","
        "\"userId\":\"u\"},{\"eventId\":\"r1\",\"eventName\":\"r\",\"userId\":\"u\","
        "\"properties\":[{\"name\":\"at\",\"timeMsValue\":\"1717200000001\"}]}]}}";
    expect(&call, 200, "\"conflict\":\"1\"");
    expect(&call, 200,
           "{\"status\":\"RECEIPT_STATUS_CONFLICT\",\"eventId\":\"r1\",\"reason\":\"an event with");
    expect(&(struct call){.path = "/v1/query?dataset=rpcdl.dead",
                          .headers = {TEXT},
                          .body = "events conflict columns (event_json)"},
           200, "\\\"properties\\\":{\\\"at\\\":\\\"2024-06-01T00:00:00.001Z\\\"}}");
    call = (struct call){.path = "/v1/batch?dataset=segdl", .headers = {JSON}};
    call.body =
        "{\"batch\":[{\"type\":\"track\",\"event\":\"a\",\"userId\":\"u\",\"messageId\":\"m\"},"
        "{\"type\":\"track\",\"event\":\"b\",\"userId\":\"u\",\"messageId\":\"m\"}]}";
    expect(&call, 200,
           "{\"success\":true,\"accepted\":1,\"duplicate\":0,\"rejected\":0,\"conflict\":1,"
           "\"dead_letters\":\"segdl.dead\",\"receipts\":[");
    expect_count("segdl.dead", "conflict", "\"rows\":[[1]]");
}

/* Without its dead letters no answer says "conflict"; nothing is lost, and sending again is enough. */
static void where_letters_cannot_be_written_the_body_is_sent_again(void **state)
{
    (void)state;
    char path[160];
    struct call call = {.path = "/v1/events?dataset=torn", .headers = {NDJSON}};
    call.body = "{\"event_id\":\"t1\",\"event_name\":\"a\",\"user_id\":\"u\"}\n"
                "{\"event_id\":\"t1\",\"event_name\":\"b\",\"user_id\":\"u\"}\n"
                "{\"event_id\":\"t2\",\"event_name\":\"a\",\"user_id\":\"u\"}\n";
    snprintf(path, sizeof(path), "%s/torn.dead", server.data); /* a file is where the folder goes */
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    expect(&call, 503, "dead letters of data set \\\"torn\\\"");
    expect_header(&call, 503, "retry-after", "1");
    struct call rpc = {.path = "/trackway.v1.IngestService/Ingest", .headers = {JSON}};
    rpc.body =
        "{\"dataset\":\"torn\",\"batch\":{\"events\":[{\"eventId\":\"t1\",\"eventName\":\"c\","
        "\"userId\":\"u\"}]}}";
    expect(&rpc, 503, "\"code\":\"unavailable\"");
    assert_int_equal(unlink(path), 0);
    expect(&call, 200, "\"accepted\":0,\"duplicate\":2,\"rejected\":0,\"conflict\":1");
    expect(&rpc, 200, "\"conflict\":\"1\"");
    expect_count("torn", "a", "\"rows\":[[2]]");
    expect_count("torn.dead", "conflict", "\"rows\":[[2]]");
}

/* Of one moment: the question of how many users there are. */
static void expect_users(const char *dataset, const char *piece)
{
    char path[200];
    snprintf(path, sizeof(path), "/v1/query?dataset=%s", dataset);
    expect(&(struct call){.path = path, .headers = {TEXT}, .body = "trend users(any) as n"}, 200,
           piece);
}

static void ids_that_met_are_one_user_and_users_are_merged(void **state)
{
    (void)state;
    struct call act = {.path = "/v1/admin/identity?dataset=who", .headers = {JSON}};
    const struct call batch = {
        .path = "/v1/batch?dataset=who",
        .headers = {JSON},
        .body =
            "{\"batch\":["
            "{\"type\":\"track\",\"event\":\"view\",\"messageId\":\"1\",\"anonymousId\":\"w1\"},"
            "{\"type\":\"track\",\"event\":\"view\",\"messageId\":\"2\",\"anonymousId\":\"w2\"},"
            "{\"type\":\"track\",\"event\":\"view\",\"messageId\":\"3\",\"userId\":\"u1\"},"
            "{\"type\":\"track\",\"event\":\"view\",\"messageId\":\"4\",\"userId\":\"-1\","
            "\"anonymousId\":\"w3\"}]}"};
    expect(&batch, 200, "\"accepted\":4");
    expect_users("who", "[[4]]"); /* w1, w2, u1, -1 with w3 */
    expect(&(struct call){.path = "/v1/identify?dataset=who",
                          .headers = {JSON},
                          .body = "{\"userId\":\"u1\",\"anonymousId\":\"w1\"}"},
           200, "\"success\":true");
    expect_users("who", "[[3]]");
    expect(&(struct call){.path = "/v1/alias?dataset=who",
                          .headers = {JSON},
                          .body = "{\"userId\":\"u2\",\"previousId\":\"w2\"}"},
           200, "\"success\":true");
    expect_users("who", "[[3]]"); /* u1, u2, -1 */
    act.body = "{\"merge\":\"u2\",\"into\":\"u1\"}";
    expect(&act, 200, "\"merged\":1");
    expect_users("who", "[[2]]");
    expect(&act, 400, "is merged already");
    act.body = "{\"merge\":\"u1\",\"into\":\"u2\"}";
    expect(&act, 400, "would be merged into itself");
    act.body = "{\"merge\":\"nobody-knows\",\"into\":\"u2\"}";
    expect(&act, 404, "no event has the user id");
    act.body = "{\"unmerge\":\"u2\"}";
    expect(&act, 200, "\"refused\":3");
    expect_users("who", "[[3]]");
    act.body = "{\"nobody\":\"-1\"}";
    expect(&act, 200, "\"nobodies\":1");
    expect_users("who", "[[3]]"); /* u1, u2, w3 */
    expect(&(struct call){.path = "/v1/query?dataset=who",
                          .headers = {TEXT},
                          .body = "segment did(any) list users"},
           200, "[[\"u1\"],[\"u2\"],[\"w3\"]]");
    act.body = "{\"merge\":\"u2\"}";
    expect(&act, 400, "is not one act");
    act.body = "{\"join\":\"u2\"}";
    expect(&act, 400, "is no act");
    expect(&(struct call){.path = act.path}, 200, "\"bound\":");
}

static void settings_are_read_and_changed_and_old_events_expire(void **state)
{
    (void)state;
    char body[400];
    int64_t now_ms = clock_wall_ms();
    const struct call events = {
        .path = "/v1/events?dataset=keeps", .headers = {NDJSON}, .body = body};
    struct call settings = {.path = "/v1/admin/settings?dataset=keeps", .headers = {JSON}};
    settings.body = "{}";
    expect(&settings, 404, "no data set \\\"keeps\\\"");
    snprintf(body, sizeof(body),
             "{\"event_id\":\"1\",\"event_name\":\"a\",\"user_id\":\"u\",\"event_time\":%" PRId64
             "}\n{\"event_id\":\"2\",\"event_name\":\"a\",\"user_id\":\"u\"}",
             now_ms - INT64_C(100) * 86400000);
    expect(&events, 200, "\"accepted\":2");
    expect_count("keeps", "a", "\"rows\":[[2]]");
    expect(&(struct call){.path = settings.path}, 200,
           "{\"name\":\"keeps\",\"expire_after\":\"off\",\"cold_after\":\"off\",\"dedup_window\":"
           "\"7d\"}");
    expect(&settings, 200, "\"expire_after\":\"off\""); /* nothing named, nothing changed */
    settings.body = "{\"expire_after\":\"90d\",\"dedup_window\":\"off\"}";
    expect(&settings, 200,
           "\"expire_after\":\"90d\",\"cold_after\":\"off\",\"dedup_window\":\"off\"");
    expect_count("keeps", "a", "\"rows\":[[1]]");
    expect_count("keeps", "a", "\"history_from\":\"20");
    snprintf(body, sizeof(body),
             "{\"event_id\":\"3\",\"event_name\":\"a\",\"user_id\":\"u\",\"event_time\":%" PRId64
             "}",
             now_ms - INT64_C(100) * 86400000);
    expect(&events, 200, "event_time is older than the data set keeps (90 days)");
    const struct {
        const char *body, *piece;
    } mistakes[] = {
        {"{\"expire_after\":\"90 days\"}", "\\\"90 days\\\" is no span"},
        {"{\"expire_after\":90}", "is not text"},
        {"{\"expire_after\":\"1h\"}", "expire_after: 1 hour; it is off, or from 1 day"},
        {"{\"expires\":\"90d\"}", "\\\"expires\\\" is no setting"},
        {"{\"cold_after\":\"30d\"}", "cold-dir"},
        {"[]", "not a JSON object"},
        {"{", "request body"},
    };
    for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
        settings.body = mistakes[i].body;
        expect(&settings, 400, mistakes[i].piece);
    }
    settings.body = "{\"expire_after\":\"off\"}";
    expect(&settings, 200, "\"expire_after\":\"off\"");
    expect_count("keeps", "a", "\"rows\":[[2]]"); /* it was in memory, masked only */
    settings.body = "{\"expire_after\":\"90d\"}";
    expect(&settings, 200, NULL);
    expect(&(struct call){.path = "/v1/admin/flush?dataset=keeps", .body = " "}, 200,
           "\"expired_rows\":1");
    assert_int_equal(
        server_metric(&server, "trackway_dataset_expired_rows_total{dataset=\"keeps\"}"), 1);
    settings.body = "{\"expire_after\":\"off\"}";
    expect(&settings, 200, NULL);
    expect_count("keeps", "a", "\"rows\":[[1]]");
    expect_count("keeps", "a", "\"history_from\":\"20");
}

/* A gzip body of many megabytes of events: a few hundred milliseconds of work for one thread. */
static void heavy_body(struct buf *out)
{
    struct buf plain = {0};
    for (unsigned i = 0; plain.len < 24 << 20; i++) {
        buf_printf(&plain,
                   "{\"event_id\":\"h%u\",\"event_time\":1746057600000,\"event_name\":\"heavy\","
                   "\"user_id\":\"u%u\",\"properties\":{\"a\":%u,\"b\":\"text\"}}\n",
                   i, i % 1000, i);
    }
    gzip(plain.ptr, plain.len, out);
    buf_done(&plain);
}

static void send_heavy(int fd, const struct buf *body)
{
    char head[256];
    int len = snprintf(head, sizeof(head),
                       "POST /v1/events?dataset=heavy&receipts=counts HTTP/1.1\r\nHost: x\r\n"
                       "Content-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       body->len);
    assert_int_equal(send(fd, head, (size_t)len, 0), len);
    for (size_t sent = 0; sent < body->len;) {
        ssize_t more = send(fd, body->ptr + sent, body->len - sent, MSG_NOSIGNAL);
        assert_true(more > 0);
        sent += (size_t)more;
    }
}

static void a_client_that_hangs_up_cancels_its_work(void **state)
{
    (void)state;
    enum { CLIENTS = 16 };
    struct buf body = {0};
    heavy_body(&body);
    struct server_process outer = server;
    server_start(&server, (const char *const[]){"--ingest-threads", "1", NULL});
    for (int i = 0; i < CLIENTS; i++) {
        int fd = server_connect(&server);
        send_heavy(fd, &body);
        close(fd);
    }
    /* At most a few were begun before the hang-ups were seen; each of the rest is cancelled. */
    long long cancelled = 0;
    for (int i = 0; i < 600; i++) {
        bool is_over = server_metric(&server, "trackway_client_hangups_total") == CLIENTS &&
                       server_metric(&server, "trackway_requests_in_work") == 0;
        cancelled = server_metric(&server, "trackway_jobs_cancelled_total");
        if (is_over) {
            break;
        }
        usleep(50 * 1000);
    }
    assert_true(cancelled >= CLIENTS / 2);
    assert_int_equal(server_metric(&server, "trackway_client_hangups_total"), CLIENTS);
    assert_int_equal(server_metric(&server, "trackway_requests_in_work"), 0);
    assert_int_equal(server_metric(&server, "trackway_bodies_bytes"), 0);
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    server_remove(&server);
    server = outer;
    buf_done(&body);
}

/* The status of the answer on a raw connection, and whether it has Retry-After. */
static int raw_status(int fd, bool *ret_has_retry_after)
{
    char answer[4096];
    size_t len = 0;
    while (len + 1 < sizeof(answer)) {
        ssize_t got = recv(fd, answer + len, sizeof(answer) - 1 - len, 0);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
        answer[len] = '\0';
        if (strstr(answer, "\r\n\r\n") != NULL) {
            break;
        }
    }
    answer[len] = '\0';
    *ret_has_retry_after = strstr(answer, "\r\nretry-after: 1\r\n") != NULL;
    return len < 12 ? 0 : atoi(answer + 9);
}

static void a_full_queue_is_429_with_retry_after(void **state)
{
    (void)state;
    enum { CLIENTS = 8 };
    struct buf body = {0};
    int fds[CLIENTS];
    int busy_count = 0;
    int ok_count = 0;
    heavy_body(&body);
    struct server_process outer = server;
    server_start(&server, (const char *const[]){"--ingest-threads", "1", "--queue-max", "1", NULL});
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = server_connect(&server);
        send_heavy(fds[i], &body);
    }
    for (int i = 0; i < CLIENTS; i++) {
        bool has_retry_after = false;
        int status = raw_status(fds[i], &has_retry_after);
        assert_true(status == 200 || status == 429);
        busy_count += status == 429;
        ok_count += status == 200;
        assert_int_equal(has_retry_after, status == 429);
        close(fds[i]);
    }
    assert_true(busy_count >= 1);
    assert_true(ok_count >= 1);
    assert_int_equal(server_metric(&server, "trackway_requests_busy_total"), busy_count);
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    server_remove(&server);
    server = outer;
    buf_done(&body);
}

static void sigterm_finishes_what_is_in_work_and_loses_nothing(void **state)
{
    (void)state;
    struct buf body = {0};
    heavy_body(&body);
    struct server_process outer = server;
    server_start(&server, NULL);
    expect(&(struct call){.path = "/v1/events?dataset=keep",
                          .headers = {NDJSON},
                          .body = "{\"event_name\":\"k\",\"user_id\":\"u\"}"},
           200, "\"accepted\":1");
    int idle = server_connect(&server); /* an idle connection must not hold the server up */
    int fd = server_connect(&server);
    send_heavy(fd, &body);
    for (int i = 0; i < 100 && server_metric(&server, "trackway_requests_in_work") == 0; i++) {
        usleep(1000);
    }
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    bool has_retry_after = false;
    assert_int_equal(raw_status(fd, &has_retry_after), 200);
    close(fd);
    close(idle);
    server_restart(&server, NULL);
    expect_count("keep", "k", "\"rows\":[[1]]");
    expect(&(struct call){.path = "/v1/datasets"}, 200, "\"name\":\"heavy\"");
    expect(&(struct call){.path = "/readyz"}, 200, "ready");
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    server_remove(&server);
    server = outer;
    buf_done(&body);
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
    (void)state;
    struct server_process outer = server;
    server_start(&server, NULL);
    for (int i = 0; i < 5; i++) {
        char event[128];
        snprintf(event, sizeof(event),
                 "{\"event_id\":\"%d\",\"event_name\":\"k\",\"user_id\":\"u\"}", i);
        expect(
            &(struct call){.path = "/v1/events?dataset=keep", .headers = {NDJSON}, .body = event},
            200, "\"accepted\":1");
    }
    assert_int_equal(server_stop(&server, SIGKILL), 128 + SIGKILL);
    server_restart(&server, NULL);
    expect_count("keep", "k", "\"rows\":[[5]]");
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    server_remove(&server);
    server = outer;
}

static void refused_start(const char *const *args, int status, const char *piece)
{
    struct buf out = {0};
    assert_int_equal(server_run(args, &out), status);
    if (strstr((const char *)out.ptr, piece) == NULL) {
        fail_msg("%s; expected \"%s\"", out.ptr, piece);
    }
    buf_done(&out);
}

static void a_start_that_cannot_be_says_why(void **state)
{
    (void)state;
    char piece[128];
    char data[] = "/tmp/trackway-e2e-XXXXXX";
    assert_non_null(mkdtemp(data));
    snprintf(piece, sizeof(piece), "cannot listen on %s: another process has that port",
             server.address);
    refused_start((const char *const[]){"--data", data, "--listen", server.address, NULL}, 1,
                  piece);
    refused_start((const char *const[]){"--data", server.data, "--listen", "127.0.0.1:0", NULL}, 1,
                  server.data);
    refused_start((const char *const[]){"--data", "/dev/null/x", "--listen", "127.0.0.1:0", NULL},
                  1, "\"/dev/null/x\"");
    refused_start((const char *const[]){"--data", data, "--listen", "127.0.0.1", NULL}, 1,
                  "not ADDRESS:PORT");
    refused_start((const char *const[]){"--data", data, "--listen", "192.0.2.1:0", NULL}, 1,
                  "cannot listen on 192.0.2.1:0");
    if (geteuid() != 0) { /* root writes anywhere */
        assert_int_equal(chmod(data, 0500), 0);
        refused_start((const char *const[]){"--data", data, "--listen", "127.0.0.1:0", NULL}, 1,
                      data);
    }
    rmdir(data);
    refused_start((const char *const[]){"--lisen", "x", NULL}, 2, "did you mean \"listen\"?");
    refused_start((const char *const[]){"--queue-max", "0", NULL}, 2, "allowed are 1 to 100000");
    refused_start((const char *const[]){"--version", NULL}, 0, "trackwayd 0.");
    refused_start((const char *const[]){"--check-config", "--queue-max", "9", NULL}, 0,
                  "queue-max = 9\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_sent_are_in_the_next_answer),
        cmocka_unit_test(a_broken_line_does_not_reject_the_others),
        cmocka_unit_test(protobuf_batches_are_taken),
        cmocka_unit_test(segment_calls_are_taken),
        cmocka_unit_test(what_identify_calls_say_is_asked_of_their_users),
        cmocka_unit_test(gzip_bodies_are_inflated_within_the_limit),
        cmocka_unit_test(a_body_over_the_limit_is_413_on_both_protocols),
        cmocka_unit_test(answers_come_in_the_form_asked_for),
        cmocka_unit_test(a_query_comes_as_text_json_or_url),
        cmocka_unit_test(mistakes_are_answered_with_their_place),
        cmocka_unit_test(what_does_not_exist_is_404),
        cmocka_unit_test(what_is_not_taken_is_refused_with_what_is),
        cmocka_unit_test(head_has_the_headers_and_no_body),
        cmocka_unit_test(connect_calls_are_answered_by_their_protocol),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(long_answers_are_compressed_where_the_client_likes_it),
        cmocka_unit_test(data_sets_are_listed_flushed_and_compacted),
        cmocka_unit_test(one_id_with_two_contents_is_a_conflict_in_one_body),
        cmocka_unit_test(a_conflict_is_one_wherever_the_first_event_lies),
        cmocka_unit_test(a_conflict_that_is_sent_again_makes_no_second_letter),
        cmocka_unit_test(dead_letters_make_no_dead_letters),
        cmocka_unit_test(a_long_name_has_dead_letters_too),
        cmocka_unit_test(connect_and_segment_clients_see_conflicts),
        cmocka_unit_test(where_letters_cannot_be_written_the_body_is_sent_again),
        cmocka_unit_test(ids_that_met_are_one_user_and_users_are_merged),
        cmocka_unit_test(settings_are_read_and_changed_and_old_events_expire),
        cmocka_unit_test(a_client_that_hangs_up_cancels_its_work),
        cmocka_unit_test(a_full_queue_is_429_with_retry_after),
        cmocka_unit_test(sigterm_finishes_what_is_in_work_and_loses_nothing),
        cmocka_unit_test(what_was_acknowledged_survives_a_kill),
        cmocka_unit_test(a_start_that_cannot_be_says_why),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s PATH-OF-TRACKWAYD\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    server_program(argv[1]);
    int failed = cmocka_run_group_tests(tests, start_server, stop_server);
    curl_global_cleanup();
    return failed;
}
