/* client/http_client.c - see http_client.h. */
#include "client/http_client.h"

#include "storage/base/size.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define CONNECT_TIMEOUT_MS 10000L

struct http_client {
    CURL *curl;
    bool is_too_large; /* of the answer under way */
    bool is_given_up;  /* by who takes it */
    char curl_message[CURL_ERROR_SIZE];
};

enum err_code http_client_setup(struct err *err)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    return code == CURLE_OK
               ? ERR_OK
               : err_set(err, ERR_NOMEM, "libcurl does not start: %s", curl_easy_strerror(code));
}

struct receiving {
    struct http_client *client;
    const struct http_request *request;
    struct http_answer *answer;
};

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct receiving *receiving = arg;
    struct buf *body = &receiving->answer->body;
    size_t len = size * count; /* size is 1 by libcurl's promise */
    long status = 0;
    curl_easy_getinfo(receiving->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (receiving->request->take != NULL && status >= 200 && status <= 299) {
        receiving->client->is_given_up =
            !receiving->request->take(receiving->request->take_arg, bytes, len);
        return receiving->client->is_given_up ? 0 : len;
    }
    if (len > HTTP_ANSWER_BYTES_MAX - body->len) {
        receiving->client->is_too_large = true;
        return 0;
    }
    buf_append(body, bytes, len);
    return body->is_bad ? 0 : len;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *arg)
{
    static const char name[] = "retry-after:";
    struct receiving *receiving = arg;
    size_t len = size * count;
    if (len > sizeof(name) && strncasecmp(bytes, name, sizeof(name) - 1) == 0) {
        size_t at = sizeof(name) - 1;
        uint32_t seconds = 0;
        while (at < len && bytes[at] == ' ') {
            at++;
        }
        /* Seconds; the form with a date is not sent by our server, and is no reason to wait an hour. */
        for (; at < len && bytes[at] >= '0' && bytes[at] <= '9' && seconds < 3600; at++) {
            seconds = seconds * 10 + (uint32_t)(bytes[at] - '0');
            receiving->answer->has_retry_after = true;
        }
        receiving->answer->retry_after_s = MIN_OF(seconds, 3600u);
    }
    return len;
}

enum err_code http_client_create(struct http_client **ret, struct err *err)
{
    CLEANUP(http_client_freep) struct http_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: an HTTP connection");
    }
    client->curl = curl_easy_init();
    if (client->curl == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: an HTTP connection");
    }
    *ret = TAKE(client);
    return ERR_OK;
}

void http_client_free(struct http_client *client)
{
    if (client != NULL) {
        curl_easy_cleanup(client->curl);
        free(client);
    }
}

void http_answer_done(struct http_answer *answer)
{
    buf_done(&answer->body);
    *answer = (struct http_answer){0};
}

/* Traffic of this machine with itself does not belong into a proxy, whatever the environment says. */
static bool url_is_loopback(const char *url)
{
    static const char *const HOSTS[] = {"://127.", "://localhost", "://[::1]"};
    for (size_t i = 0; i < COUNT_OF(HOSTS); i++) {
        if (strstr(url, HOSTS[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static enum err_code headers_make(const struct http_request *request, struct curl_slist **ret,
                                  struct err *err)
{
    const struct {
        const char *name;
        const char *value;
    } headers[] = {
        {"Content-Type", request->content_type},
        {"Accept", request->accept},
        {"Expect", ""}, /* no 100-continue: it would cost a round trip per body */
    };
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        char line[256];
        if (headers[i].value == NULL) {
            continue;
        }
        snprintf(line, sizeof(line), "%s:%s%s", headers[i].name, headers[i].value[0] ? " " : "",
                 headers[i].value);
        struct curl_slist *longer = curl_slist_append(list, line);
        if (longer == NULL) {
            curl_slist_free_all(list);
            return err_set(err, ERR_NOMEM, "out of memory: HTTP headers");
        }
        list = longer;
    }
    *ret = list;
    return ERR_OK;
}

/* What libcurl says, in words that say what to do. */
static enum err_code failure(struct http_client *client, const struct http_request *request,
                             CURLcode code, struct err *err)
{
    long os_errno = 0;
    struct str url = str_of(request->url);
    const char *path = strstr(request->url, "://");
    path = path == NULL ? NULL : strchr(path + 3, '/');
    if (path != NULL) {
        url.len = (size_t)(path - url.ptr);
    }
    curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_errno);
    switch ((int)code) {
    case CURLE_COULDNT_CONNECT:
        return err_set(err, ERR_IO, "cannot reach " STR_FMT ": %s; is trackwayd running?",
                       STR_ARG(url),
                       os_errno == ECONNREFUSED ? "connection refused"
                       : os_errno != 0          ? strerror((int)os_errno)
                                                : "no connection");
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return err_set(
            err, ERR_IO, "cannot reach " STR_FMT ": the connection was lost (%s)", STR_ARG(url),
            client->curl_message[0] != '\0' ? client->curl_message : curl_easy_strerror(code));
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(err, ERR_TIMEOUT, "no answer from " STR_FMT " in time: %s", STR_ARG(url),
                       client->curl_message);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return err_set(err, ERR_INVALID,
                       "\"" STR_FMT "\" is no URL of a server; like http://127.0.0.1:7717",
                       STR_ARG(url));
    case CURLE_WRITE_ERROR:
        if (client->is_given_up) {
            return err_set(err, ERR_CANCELLED, "the answer was not taken to its end");
        }
        return client->is_too_large ? err_set(err, ERR_LIMIT,
                                              "the answer of " STR_FMT " is larger than %" PRIu64
                                              " bytes; ask for less, or with limit",
                                              STR_ARG(url), HTTP_ANSWER_BYTES_MAX)
                                    : err_set(err, ERR_NOMEM, "out of memory: an answer");
    case CURLE_OUT_OF_MEMORY: return err_set(err, ERR_NOMEM, "out of memory: a request");
    default: break;
    }
    return err_set(err, ERR_IO, "cannot talk to " STR_FMT ": %s", STR_ARG(url),
                   client->curl_message[0] != '\0' ? client->curl_message
                                                   : curl_easy_strerror(code));
}

enum err_code http_client_send(struct http_client *client, const struct http_request *request,
                               struct http_answer *answer, struct err *err)
{
    CURL *curl = client->curl;
    struct curl_slist *headers = NULL;
    struct receiving receiving = {client, request, answer};
    bool is_post = strcmp(request->method, "POST") == 0;
    long status = 0;

    ERR_TRY(headers_make(request, &headers, err));
    buf_clear(&answer->body);
    answer->has_retry_after = false;
    answer->retry_after_s = 0;
    client->is_too_large = false;
    client->is_given_up = false;
    client->curl_message[0] = '\0';
    curl_easy_reset(curl); /* options only: the connection stays */
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "trackway");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->curl_message);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                     (long)MIN_OF(request->timeout_ms, (uint64_t)INT32_MAX));
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &receiving);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &receiving);
    if (url_is_loopback(request->url)) {
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    }
    if (is_post) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.len > 0 ? request->body.ptr : "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    }
    CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    if (code != CURLE_OK) {
        return failure(client, request, code, err);
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    return ERR_OK;
}
