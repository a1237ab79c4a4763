/* Tests of query/parse*.c and query/ast_print.c: a query and its canonical text. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/parse.h"
#include "tests/support/lang_fixture.h"

static struct lang_fixture fixture;

static int open_fixture(void **state)
{
    (void)state;
    lang_fixture_open(&fixture, false);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    lang_fixture_close(&fixture);
    return 0;
}

/* NULL: the query is canonical as it stands. The first ones are the examples of the language's manual. */
static const struct {
    const char *text;
    const char *canonical;
} valid[] = {
    {"funnel page_view -> feature_invoke[feature = \"remove_bg\"] -> place_order (1h) -> "
     "pay_success within 7d where country in (\"CN\", \"US\") by channel last 30d tz "
     "\"Asia/Shanghai\"",
     NULL},
    {"trend count(page_view), users(page_view) each day by platform last 30d",
     "trend count(page_view), users(page_view) by platform each day last 30d"},
    {"trend sum(amount of pay_success) / users(any) as arpu each day by channel last 90d top 5 "
     "with other",
     "trend sum(amount of pay_success) / users(any) as arpu by channel each day last 90d top 5 "
     "with other"},
    {"trend median(latency_ms of perf_api), p95(latency_ms of perf_api), p99(latency_ms of "
     "perf_api) each hour last 7d",
     NULL},
    {"trend count(pay_success) / count(place_order) as success_rate each day last 30d", NULL},
    {"trend rolling 7d users(any) as wau each day last 90d", NULL},
    {"distinct user of any each day last 90d", NULL},
    {"distinct user of any where city = \"Beijing\" and platform = \"ios\" from 2025-05-01 to "
     "2025-06-01",
     NULL},
    {"distinct task_id of task_submit each day by feature",
     "distinct task_id of task_submit by feature each day"},
    {"funnel register -> place_order -> pay_success within 7d from 2025-05-01 to 2025-06-01", NULL},
    {"retention register -> any each day for 30 last 60d", NULL},
    {"retention pay_success -> pay_success each week for 12 recurring unbounded by channel from "
     "2025-01-01 to 2025-04-01",
     NULL},
    {"timeline \"u_42\" last 7d limit 100", NULL},
    {"events pay_success[amount > 1000] columns (event_time, user_id, amount) last 1h limit 50",
     NULL},
    {"segment count(pay_success last 7d) >= 2 and did(any[city = \"Beijing\"] last 7d) and not "
     "did(refund last 30d)",
     NULL},
    {"segment did(add_to_cart rolling 7d) and not did(pay_success rolling 7d) list users limit "
     "1000",
     "segment did(add_to_cart rolling 7d) and not did(pay_success rolling 7d) limit 1000 list "
     "users"},
    {"segment ((did(a) or did(b)) or (did(c) and (did(d) and did(e))))",
     "segment did(a) or did(b) or did(c) and did(d) and did(e)"},
    {"segment (did(a) or did(b)) and not (did(c) or did(d)) and not not did(e)", NULL},
    {"segment sum(amount of pay_success last 30d including today) between 10 and 20.5 or "
     "avg(amount) < -1 or unique(channel of any from 2025-01-01 to now - 2d) != 3",
     NULL},
    {"segment first(register last 7d) or last(any on 2025-05-01) or user in (\"u1\", 'u2')",
     "segment first(register last 7d) or last(any on 2025-05-01) or user in (\"u1\", \"u2\")"},
    {"segment did(a) where channel = \"x\" rolling 12h tz \"UTC\"", NULL},
    {"segment in cohort \"vip\" and not in cohort 'b\"c' exclude cohort \"bots\", 'staff' last 30d "
     "save "
     "cohort \"warm\" static",
     "segment in cohort \"vip\" and not in cohort \"b\\\"c\" last 30d exclude cohort \"bots\", "
     "\"staff\" save cohort \"warm\" static"},
    {"trend count(any[in cohort \"vip\" or vip = true]) where not in cohort \"x\" each day", NULL},
    {"show cohorts limit 5", NULL},
    {"show metrics", NULL},
    {"show metrics of \"gmv\" limit 5", NULL},
    {"trend count(any) compare previous period last 7d each day",
     "trend count(any) each day last 7d compare previous period"},
    {"funnel a -> b last 7d compare previous year", NULL},
    {"retention a -> b each day for 3 compare cohort \"control\"", NULL},
    {"segment reached(funnel a -> b -> c within 1d last 7d, 2) and in cohort \"pro\" save cohort "
     "\"warm\"",
     NULL},
    {"segment not reached(funnel register -> (a | b) order any within 1d where vip = true, 2) "
     "last 30d",
     "segment not reached(funnel register -> (a | b) within 1d order any where vip = true, 2) "
     "last 30d"},
    {"users of (step = 2, platform = \"ios\") in funnel register -> place_order by platform", NULL},
    {"users of (step = 2, platform is not set) in funnel register -> place_order by platform limit "
     "5 "
     "list users save cohort 'stuck' static",
     "users of (step = 2, platform is not set) in funnel register -> place_order by platform limit "
     "5 "
     "list users save cohort \"stuck\" static"},
    {"explain users of (time = 2025-05-01, `a b` = true) in trend users(any) by `a b` each day",
     NULL},
    {"users of (cohort = \"2025-05-01\", period = 3) in retention register -> any each day for 7",
     NULL},
    {"users of () in segment did(a)", NULL},
    {"segment sum(x of a last 7d) - 2 * sum(y) / count(b) >= -3 and did(a)", NULL},
    {"segment (count(a) + 1) * 2 between 1 and 2 or ((did(a) or (count(b) - 1) * 2 > 3) and "
     "did(c))",
     "segment (count(a) + 1) * 2 between 1 and 2 or (did(a) or (count(b) - 1) * 2 > 3) and did(c)"},
    {"segment (count(a)) = 1 and not (count(a) - count(b rolling 3d)) * 2 != 4",
     "segment count(a) = 1 and not (count(a) - count(b rolling 3d)) * 2 != 4"},
    {"segment -count(a) < 1 and ((count(b) + 1)) > 2",
     "segment -count(a) < 1 and count(b) + 1 > 2"},
    {"segment count(a last 7d) >= 2 per task_id list users limit 3 last 30d",
     "segment count(a last 7d) >= 2 per task_id last 30d limit 3 list users"},
    {"restatements", "restatements of distinct user of any each day"},
    {"restatements last 7d", "restatements last 7d of distinct user of any each day"},
    {"restatements from 5 to 2025-05-01T10:00Z with events of trend count(a) by b last 2d", NULL},
    {"restatements of users of (step = 1) in funnel a -> b", NULL},
    {"why \"u_42\" in funnel a -> b within 7d by channel last 30d", NULL},
    {"explain why 'u\"4' in retention a -> any each day for 7",
     "explain why \"u\\\"4\" in retention a -> any each day for 7"},
    {"profile why \"\" in segment did(a) and not did(b) limit 5", NULL},
    {"drop cohort 'a b'", "drop cohort \"a b\""},
    {"show events", NULL},
    {"show properties", NULL},
    {"show properties of pay_success", NULL},
    {"show values of channel", NULL},
    {"show segments", NULL},
    {"explain funnel a -> b", NULL},
    {"profile funnel a -> b", NULL},
    {"paths starting at page_view depth 5 top 20 per session last 7d",
     "paths starting at page_view depth 5 per session last 7d top 20"},
    {"paths exactly 3 top 10 last 30d", "paths exactly 3 last 30d top 10"},
    {"paths variants per user", NULL},
    {"paths between a and b shortest top 3", NULL},
    {"paths starting at a times loops", NULL},
    {"paths", NULL},
    {"paths between a and (b | c[amount > 1]) per session over event_name, channel ignore any[vip "
     "= "
     "true] ignore trailing slash group \"/p/*\" as \"product\", \"/c/*\" as \"category\" gap 30m "
     "keep "
     "repeats times per task_id",
     NULL},
    {"paths per `session` per user ending at `trailing`",
     "paths ending at trailing per user per `session`"},
    {"attribution of pay_success by channel model last_touch lookback 30d value sum(amount of "
     "pay_success) last 30d",
     "attribution of pay_success lookback 30d value sum(amount of pay_success) by channel last "
     "30d"},
    {"attribution of a touches b[channel is set] model time_decay half_life 2d consume keep "
     "repeats "
     "value sum(amount) by channel top 3 with other",
     "attribution of a model time_decay touches b[channel is set] half_life 2d consume keep "
     "repeats "
     "value sum(amount) by channel top 3 with other"},
    {"sessions count, avg_duration_ms, bounce_rate each day idle 30m last 30d",
     "sessions count, avg_duration_ms, bounce_rate idle 30m each day last 30d"},
    {"sessions", NULL},
    {"sessions count of register cap none cut midnight by channel per task_id top 3", NULL},
    {"absence payment_success -> billing_confirmed within 5m per payment_id last 1d", NULL},
    {"absence heartbeat gap 10m per device_id list users",
     "absence heartbeat gap 10m per device_id list users"},
    {"sequence \"(?1)(?t<=3600)(?2)\" over page_view, pay_success last 7d", NULL},
    {"sequence '(?1).*(?2)' over a, b[amount > 1] match list users",
     "sequence \"(?1).*(?2)\" over a, b[amount > 1] match list users"},
    {"sequence \"(?1)\" over a next channel forward anchor first_match",
     "sequence \"(?1)\" over a next channel"},
    {"sequence \"(?1)\" over a next channel backward anchor edge top 3", NULL},
    {"sequence \"(?1)\" over a by platform, bucket(amount, 1, 2) top 3 with other order by matches desc",
     NULL},
    {"sequence \"(?1)\" over a next channel by platform each day last 7d top 3 with other", NULL},
    {"paths over page by channel, vip each week last 4w top 3 order by users desc limit 9", NULL},
    {"attribution of a by channel each day last 7d top 3 with other", NULL},
    {"intervals a -> b by channel each hour last 1d top 3 order by peak desc", NULL},
    {"users of (path = (\"a\", 'b'), channel is not set) in paths exactly 2 by channel list users",
     "users of (path = (\"a\", \"b\"), channel is not set) in paths exactly 2 by channel list users"},
    {"users of (position = 1, `from` = \"a\", to = \"(other)\") in paths top 1",
     "users of (position = 1, from = \"a\", to = \"(other)\") in paths top 1"},
    {"sequence \"(?1)\" over a count", "sequence \"(?1)\" over a"},
    {"intervals session_start -> session_end_request per table_id measure utilisation, peak each "
     "hour last 7d",
     "intervals session_start -> session_end_request measure utilisation, peak per table_id each "
     "hour last 7d"},
    {"intervals a -> b longest 2h", NULL},
    {"lifecycle of any each week last 12w", NULL},
    {"lifecycle of (a | b[x = 1]) per device_id each 2d week starts sunday", NULL},
    {"stickiness of any each day over month last 90d cumulative at least 2",
     "stickiness of any over month cumulative at least 2 each day last 90d"},
    {"stickiness of a each 2h at most 3 events", "stickiness of a at most 3 each 2h"},
    {"stickiness of a exactly 4 events over 2w each day",
     "stickiness of a over 2w exactly 4 each day"},
    {"stickiness dau_mau of any rolling 28d last 30d", NULL},
    {"stickiness dau_mau of dau_mau", NULL},
    {"conditions a, any[x = 1] list users", NULL},
    {"retention a -> b each day bracket (1, 2-7, 8-14) rolling",
     "retention a -> b each day rolling bracket (1, 2-7, 8-14)"},
    {"retention a -> b for 3 each week recurring streak average",
     "retention a -> b each week for 3 recurring streak average"},
    {"retention a -> b until each day for 3 value avg(amount of (a | c)) at least 2 by channel",
     "retention a -> b value avg(amount of (a | c)) each day for 3 until at least 2 by channel"},
    {"ltv a value sum(amount) each month for 12 discount 0.010 per device_id",
     "ltv a value sum(amount) each month for 12 discount 0.01 per device_id"},
    {"ltv a -> b value sum(amount of c) each month for 12 rolling first last 2mo",
     "ltv a -> b value sum(amount of c) each month for 12 first rolling last 2mo"},
    {"churn 2w of active last 30d list users", NULL},
    {"churn 14d of a[x = 1] last_seen", NULL},
    {"churn 14d of a by x, bucket(y, 1, 2) top 3 each month last 6mo",
     "churn 14d of a by x, bucket(y, 1, 2) each month last 6mo top 3"},
    {"conditions a, b by x top 2 order by users desc limit 3", NULL},
    {"users of (measure = \"churned\") in churn 2w of a last 30d list users", NULL},
    {"users of (condition = 2, x is not set) in conditions a, b by x", NULL},
    {"users of (time = 2025-05-01, measure = \"new\") in lifecycle of a each day", NULL},
    {"trend count(active)", NULL},
    {"trend count(pay_success[amount >= 100 and channel = \"ad\"])", NULL},
    {"trend count((share | invite[channel = \"wechat\"]))", NULL},
    {"trend unique(task_id of any) as u, first(amount of any), last(amount), p99.9(amount of any), "
     "p050(amount)",
     "trend unique(task_id of any) as u, first(amount of any), last(amount), p99.9(amount of any), "
     "p50(amount)"},
    {"trend - count(any) * 2 + (count(any) - (users(any) - 3)) / 1.5e2 as x",
     "trend -count(any) * 2 + (count(any) - (users(any) - 3)) / 150 as x"},
    {"trend (count(any) + 1) * 2 as x", NULL},
    {"trend count(any) - 1 - 2", NULL},
    {"trend count(any) - (1 - 2)", NULL},
    {"trend count(any) / (2 / 3)", NULL},
    {"trend - - count(any)", "trend --count(any)"},
    {"trend -(count(any) + 1) as n", NULL},
    {"trend count(any) order by count(any) desc", "trend count(any) order by `count(any)` desc"},
    {"trend count(any) as n by channel order by n asc limit 5",
     "trend count(any) as n by channel order by n limit 5"},
    {"trend count( any ) by channel order by `count( any )`",
     "trend count(any) by channel order by `count( any )`"},
    {"trend count(any) by bucket(amount, -10, 0, 10.5, 1e3)",
     "trend count(any) by bucket(amount, -10, 0, 10.5, 1000)"},
    {"trend count(any) by bucket(amount, 0), channel, `amount`",
     "trend count(any) by bucket(amount, 0), channel, amount"},
    {"trend count(any) by bucket", NULL},
    {"trend count(any) each 5m today", NULL},
    {"trend count(any) each 2w last 12w including today week starts sunday", NULL},
    {"trend count(any) as of 1747008000000", NULL},
    {"trend count(any) as n as of 12 by country", "trend count(any) as n by country as of 12"},
    {"segment did(a) list users as of 2025-05-01T08:00", NULL},
    {"show events as of now - 2d tz \"UTC\"", "show events tz \"UTC\" as of now - 2d"},
    {"trend count(any) identity event_time", NULL},
    {"trend count(any) identity now by country", "trend count(any) by country"},
    {"trend count(any) identity event_time as of 12 by identity exclude cohort \"bots\"",
     "trend count(any) by identity as of 12 identity event_time exclude cohort \"bots\""},
    {"show events identity event_time", NULL},
    {"timeline \"a\" identity event_time", NULL},
    {"diff 1, 2 in segment did(a) identity event_time", NULL},
    {"restatements with events of trend users(any) identity event_time", NULL},
    {"diff 12, 2025-05-01T08:00 in funnel a -> b within 1d", NULL},
    {"diff 1, now - 1h in users of (step = 1) in funnel a -> b within 1d", NULL},
    {"trend count(any) each month last 6mo including today", NULL},
    {"trend count(any) each quarter", NULL},
    {"trend count(any) each year", NULL},
    {"trend count(any) each minute last 90m", NULL},
    {"trend count(any) each second last 30s", NULL},
    {"trend count(any) each 500ms last 10s", NULL},
    {"trend count(any) on 2025-05-01", NULL},
    {"trend count(any) from 2025-05-01", NULL},
    {"trend count(any) to 2025-05-01", NULL},
    {"trend count(any) to 2025-05-02 from 2025-05-01",
     "trend count(any) from 2025-05-01 to 2025-05-02"},
    {"trend count(any) from now - 6h to now", NULL},
    {"trend count(any) from now-6h", "trend count(any) from now - 6h"},
    {"trend count(any) from now - 3mo to now - 2w", NULL},
    {"trend count(any) from 2025-05-01T08:00 to 2025-05-01T08:00:30.250", NULL},
    {"trend count(any) from 2025-05-01T08:00Z to 2025-05-01T09:00:00+01:00", NULL},
    {"trend count(any) last 6h", NULL},
    {"trend count(last)", NULL},
    {"trend count(by) by by each day", NULL},
    {"funnel last -> by -> each within 1h", NULL},
    {"funnel \"first\" -> first -> last", "funnel \"first\" -> \"first\" -> last"},
    {"funnel first within 1h", "funnel \"first\" within 1h"},
    {"funnel \"sign up\" -> 'it\\'s \"q\" \\u00e9\\ud83d\\ude00\\n\\t\\\\'",
     "funnel \"sign up\" -> \"it's \\\"q\\\" é😀\\n\\t\\\\\""},
    {"funnel `sign up` -> `any` -> \"where\"", "funnel \"sign up\" -> \"any\" -> \"where\""},
    {"funnel `a``b`", "funnel \"a`b\""},
    {"funnel a -> b (10m) -> (c | d[amount > 1]) (0s) within 0s", NULL},
    {"funnel a -> b ties strict closed order ordered count users by channel at step 1",
     "funnel a -> b ties strict closed by channel"},
    {"funnel a within 2w", NULL},
    {"funnel a -> b (10m) -> c? -> d within 1d order strict", NULL},
    {"funnel a -> b -> c within 1d without refund between 1 and 2", NULL},
    {"funnel a -> b -> c within 1d holding product_id by platform at step 2 each week",
     "funnel a -> b -> c within 1d holding product_id at step 2 by platform each week"},
    {"funnel a -> b within 1h count totals", NULL},
    {"funnel a -> b trend single each day", "funnel a -> b trend single each day"},
    {"funnel a -> b each day trend single by channel at all steps count totals",
     "funnel a -> b count totals trend single at all steps by channel each day"},
    {"funnel trend -> single", NULL},
    {"funnel a! -> b -> c! within 1d order any", NULL},
    {"funnel a -> b order strict considering (a | b[x = 1])", NULL},
    {"funnel first a[x = 1] -> first matching b -> first (c | d)? (5m)", NULL},
    {"funnel a -> first (10m) -> first matching within 1h",
     "funnel a -> \"first\" (10m) -> first \"matching\" within 1h"},
    {"funnel a -> b (1h)? -> c", "funnel a -> b? (1h) -> c"},
    {"funnel a -> b -> c without x dropping users with (y | z[k = 1]) between 2 and 3 without w "
     "between 1 and 2",
     NULL},
    {"funnel a -> b dropping users with x reuse mode \"clickhouse:strict_increase\" entry first "
     "attempt latest",
     "funnel a -> b dropping users with x ties strict reuse entry first attempt latest"},
    {"funnel a -> b mode \"clickhouse:strict_order, strict_deduplication\" reuse",
     "funnel a -> b reuse mode \"clickhouse:strict_deduplication,strict_order\""},
    {"funnel a -> b mode \"clickhouse:strict_once\" attempt earliest count sessions",
     "funnel a -> b attempt earliest count sessions"},
    {"funnel a -> b holding x, y by channel at first set",
     "funnel a -> b holding x, y at first set by "
     "channel"},
    {"funnel a -> b at last set times by channel", NULL},
    {"funnel a -> b at all steps times (0s, 10s, 1m) by channel each day", NULL},
    {"funnel a -> b list users limit 5", "funnel a -> b limit 5 list users"},
    {"funnel a -> b per device_id", NULL},
    {"funnel a -> b correlate events", NULL},
    {"funnel a -> b correlate `events`", NULL},
    {"funnel a -> b correlate channel last 7d", NULL},
    {"funnel a at step 1 by channel", "funnel a by channel"},
    {"retention a -> b for 3 each week first", "retention a -> b each week for 3 first"},
    {"retention a -> b first_ever each day for 0 exact calendar at least 3",
     "retention a -> b each day for 0 at least 3"},
    {"retention a -> b each day for 2 at least 2 events first_ever unfiltered unbounded",
     "retention a -> b each day for 2 first_ever unfiltered unbounded at least 2"},
    {"retention a[x = 1] -> (b | c) each month for 9999 recurring", NULL},
    {"retention a -> b each 7d for 4 by channel order by rate desc limit 10 top 5",
     "retention a -> b each 7d for 4 by channel top 5 order by rate desc limit 10"},
    {"events any", NULL},
    {"events active limit 1000000", NULL},
    {"events (a | b) columns (`any`, event_name, `weird col`) order by `weird col`", NULL},
    {"timeline 'x' where event_name = \"a\" from 2025-01-01",
     "timeline \"x\" where event_name = \"a\" from 2025-01-01"},
    {"events any where a = 1 and b = 2 or c = 3 and not d = 4", NULL},
    {"events any where a = 1 and (b = 2 or c = 3)", NULL},
    {"events any where (a = 1 and b = 2) or c = 3", "events any where a = 1 and b = 2 or c = 3"},
    {"events any where ((a = 1))", "events any where a = 1"},
    {"events any where not (a = 1 or b = 2)", NULL},
    {"events any where not not a = 1", NULL},
    {"events any where not (a = 1 and b = 2) and c != \"x\"", NULL},
    {"events any where (a = 1 and b = 2) and (c = 3 or d = 4 or (e = 5 or f = 6))",
     "events any where a = 1 and b = 2 and (c = 3 or d = 4 or e = 5 or f = 6)"},
    {"events any where a < 1 and b <= 2 and c > -3 and d >= 4.50 and e != 1e30",
     "events any where a < 1 and b <= 2 and c > -3 and d >= 4.5 and e != 1e+30"},
    {"events any where a in (1) or a not in (1, 2, 3) or b in (\"x\", 'y')",
     "events any where a in (1) or a not in (1, 2, 3) or b in (\"x\", \"y\")"},
    {"events any where amount between 1 and 2 and channel between \"a\" and \"b\"", NULL},
    {"events any where channel contains \"x\" or channel starts with \"y\" or channel ends with "
     "\"z\" or channel matches \"^a.*$\"",
     NULL},
    {"events any where channel is set and platform is not set", NULL},
    {"events any where vip = true and vip != false and vip in (true, false)", NULL},
    {"events any where event_time >= 2025-05-01 and received_at < now - 1h and seen_at between "
     "2025-05-01T08:00 and now",
     NULL},
    {"events any where event_time >= \"2025-05-01\"", NULL},
    {"events any where mixed = 1 or mixed = \"a\" or mixed = true or mixed is set or mixed is not "
     "set",
     NULL},
    {"events any where tags = \"x\" and tags contains \"y\" and label = \"z\"", NULL},
    {"events any where true = 1 and now = 2 and null = 3", NULL},
    {"events any where `profile.plan` = \"pro\"", NULL},
    {"events any where profile.plan = \"pro\" and not (profile.vip is not set)",
     "events any where profile.plan = \"pro\" and not profile.vip is not set"},
    {"events any where profile.plan as  of\tevent in (\"pro\", \"free\")",
     "events any where profile.plan as of event in (\"pro\", \"free\")"},
    {"events any where profile.`pricing plan` = 1 and profile.`a``b` as of event is set", NULL},
    {"events any where profile.`plan` = 1 and profile.`in` = 2 and profile.2fa = 3",
     "events any where profile.plan = 1 and profile.in = 2 and profile.2fa = 3"},
    {"trend count(any) by profile.plan, profile.plan as of event, bucket(profile.age as of event, "
     "0, "
     "18)",
     NULL},
    {"segment profile.plan = \"pro\" and not (did(any) or profile.age between 1 and 2)",
     "segment profile.plan = \"pro\" and not (did(any) or profile.age between 1 and 2)"},
    {"events any where `not` = 1 and `in` is set", NULL},
    {"events any where user_id = \"u1\" and anonymous_id is not set and event_id starts with \"e\" "
     "and event_name in (\"a\", \"b\")",
     NULL},
    {"events any # a comment to the end", "events any"},
    {"events  any\twhere   a = \"two  spaces\"  # more", "events any where a = \"two  spaces\""},
    {"distinct `user` of any", NULL},
    {"distinct user of any by platform top 10000", NULL},
    {"distinct user_id of any", NULL},
    {"trend count(any) as `odd name`", NULL},
    {"trend count(any) tz \"Pacific/Apia\" on 2011-12-30",
     "trend count(any) on 2011-12-30 tz \"Pacific/Apia\""},
    {"trend count(rolling), rolling 1d count(any) as r each day", NULL},
    {"trend p50(amount), median(amount)", NULL},
    {"show values of `user id`", NULL},
    {"show values of profile.plan as of event limit 3", NULL},
    {"show profiles limit 5", NULL},
    {"show events limit 5", NULL},
    {"show properties of \"sign up\" limit 5 tz \"UTC\"", NULL},
    {"trend sum($x.y_1)", NULL},
    {"trend count($pageview)", NULL},
    {"trend count(a) where a = 1 last 7d by b each day top 3 order by time limit 9 tz \"UTC\" week "
     "starts monday",
     "trend count(a) where a = 1 by b each day last 7d top 3 order by time limit 9 tz \"UTC\" week "
     "starts monday"},
};

static void every_valid_query_has_its_canonical_text(void **state)
{
    (void)state;
    assert_true(COUNT_OF(valid) >= 100);
    for (size_t i = 0; i < COUNT_OF(valid); i++) {
        const char *want = valid[i].canonical == NULL ? valid[i].text : valid[i].canonical;
        assert_string_equal(lang_canonical(&fixture, valid[i].text), want);
    }
}

static void canonical_text_is_its_own_canonical_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(valid); i++) {
        const char *once = lang_canonical(&fixture, valid[i].text);
        assert_string_equal(lang_canonical(&fixture, once), once);
    }
}

static void white_space_and_comments_do_not_matter(void **state)
{
    (void)state;
    assert_string_equal(lang_canonical(&fixture, "funnel a->b(10m)within 1h"),
                        "funnel a -> b (10m) within 1h");
    assert_string_equal(lang_canonical(&fixture, "\n # what\r\nfunnel # who\n\ta\n->\nb # end"),
                        "funnel a -> b");
}

/* ---- parameters ---- */

static const char *parse_with(const struct query_param *params, uint32_t count, const char *text)
{
    struct query_request request = {
        .text = str_of(text), .params = params, .param_count = count, .now_ms = LANG_NOW_MS};
    const struct ast_query *ast = NULL;
    struct err err = {0};
    CLEANUP(buf_freep) struct buf buf = {0};
    if (query_parse(&request, fixture.arena, &ast, &err) != ERR_OK) {
        buf_printf(&buf, "%u:%u: %s", err.line, err.column, err.message);
    } else {
        ast_print(ast, &buf);
    }
    struct str kept = {0};
    assert_int_equal(arena_str(fixture.arena, buf_as_str(&buf), &kept, &err), ERR_OK);
    return kept.ptr;
}

static void parameters_stand_for_their_values(void **state)
{
    (void)state;
    struct query_param params[] = {
        {.name = STR("who"), .kind = PARAM_STRING, .string = STR("x\" or 1 = 1")},
        {.name = STR("n"), .kind = PARAM_NUMBER, .number = {5, 0}},
        {.name = STR("on"), .kind = PARAM_BOOL, .boolean = true},
        {.name = STR("since"), .kind = PARAM_STRING, .string = STR("2025-05-01T08:00Z")},
    };
    assert_string_equal(parse_with(params, 1, "events any where channel = :who"),
                        "events any where channel = \"x\\\" or 1 = 1\"");
    assert_string_equal(parse_with(params, 1, "funnel :who -> b"),
                        "funnel \"x\\\" or 1 = 1\" -> b");
    assert_string_equal(parse_with(params, 1, "timeline :who"), "timeline \"x\\\" or 1 = 1\"");
    assert_string_equal(
        parse_with(params, 4, "events :who where a in (:n, 2) and b = :on from :since limit :n"),
        "events \"x\\\" or 1 = 1\" where a in (5, 2) and b = true from 2025-05-01T08:00Z limit 5");
}

static void parameters_are_checked(void **state)
{
    (void)state;
    struct query_param params[] = {
        {.name = STR("s"), .kind = PARAM_STRING, .string = STR("2025-05-01 tz")},
        {.name = STR("n"), .kind = PARAM_NUMBER, .number = {5, 1}},
    };
    assert_string_equal(parse_with(params, 1, "events any where a = :t"),
                        "1:22: parameter \":t\" has no value");
    assert_string_equal(parse_with(params, 2, "events any where a = :n"),
                        "0:0: parameter \":s\" is given, but the query does not use it");
    assert_string_equal(parse_with(params, 1, "events any from :s"),
                        "1:17: expected a date or an instant (2025-05-01, 2025-05-01T08:00, now - "
                        "6h), but the parameter is \"2025-05-01 tz\"");
    assert_string_equal(
        parse_with(params + 1, 1, "timeline :n"),
        "1:10: expected the id of a user in quotes, but parameter \":n\" is a number");
    assert_string_equal(parse_with(params + 1, 1, "events any limit :n"),
                        "1:18: \"limit\" takes a whole number from 1 to 1000000");
}

/* ---- bounds ---- */

static enum err_code parse_repeated(const char *before, const char *unit, uint32_t count,
                                    const char *after, struct err *err)
{
    CLEANUP(buf_freep) struct buf buf = {0};
    buf_z(&buf, before);
    for (uint32_t i = 0; i < count; i++) {
        buf_z(&buf, unit);
    }
    buf_z(&buf, after);
    struct query_request request = {.text = buf_as_str(&buf)};
    const struct ast_query *ast = NULL;
    return query_parse(&request, fixture.arena, &ast, err);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(parse_repeated("events any where ", "not ", 200, "a = 1", &err), ERR_OK);
    assert_int_equal(parse_repeated("events any where ", "not ", 201, "a = 1", &err), ERR_LIMIT);
    assert_string_equal(err.message, "nested deeper than 200 levels");
    assert_int_equal(err.column, 17 + 200 * 4 + 1);
    assert_int_equal(parse_repeated("events any where ", "(", 100000, "", &err), ERR_LIMIT);
    assert_int_equal(parse_repeated("trend ", "(", 100000, "", &err), ERR_LIMIT);
    assert_int_equal(parse_repeated("trend ", "- ", 100000, "", &err), ERR_LIMIT);
    assert_int_equal(parse_repeated("trend 1", "+1", 100000, "", &err), ERR_LIMIT);
    assert_int_equal(parse_repeated("trend ", "(", 150, "", &err), ERR_INVALID);
}

static void long_lists_are_fine_and_bounded_where_they_cost(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(parse_repeated("events any where a in (1", ", 1", 100000, ")", &err), ERR_OK);
    assert_int_equal(parse_repeated("events any where a = 1", " or a = 1", 50000, "", &err),
                     ERR_OK);
    assert_int_equal(parse_repeated("events (a", "|a", 1000, ")", &err), ERR_LIMIT);
    assert_int_equal(parse_repeated("trend count(a)", ",count(a)", 256, "", &err), ERR_LIMIT);
}

static void a_funnel_has_at_most_64_steps(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(parse_repeated("funnel a", " -> a", 63, "", &err), ERR_OK);
    assert_int_equal(parse_repeated("funnel a", " -> a", 64, "", &err), ERR_INVALID);
    assert_string_equal(err.message, "a funnel has 1 to 64 steps, this one has 65");
    assert_int_equal(err.column, 8 + 64 * 5);
}

static void the_text_is_bounded_and_utf8(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(parse_repeated("events any", " ", QUERY_TEXT_BYTES_MAX - 10, "", &err),
                     ERR_OK);
    assert_int_equal(parse_repeated("events any", " ", QUERY_TEXT_BYTES_MAX - 9, "", &err),
                     ERR_LIMIT);
    assert_string_equal(err.message, "the query is 1048577 bytes long, the limit is 1048576");
    assert_int_equal(parse_repeated("events any\n # \xc3\xa9", "\xff", 1, "", &err), ERR_INVALID);
    assert_string_equal(err.message, "byte 0xff is not UTF-8");
    assert_int_equal(err.line, 2);
    assert_int_equal(err.column, 5);
}

static void columns_count_characters(void **state)
{
    (void)state;
    assert_string_equal(lang_canonical(&fixture, "funnel \"\xe6\xb3\xa8\xe5\x86\x8c\" -> ?"),
                        "1:16: expected an event, found \"?\"");
    assert_string_equal(lang_canonical(&fixture, "funnel a # \xe6\xb3\xa8\n  -> b\n   5"),
                        "3:4: expected a clause (where, from, last, by, each, ...), found \"5\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_valid_query_has_its_canonical_text),
        cmocka_unit_test(canonical_text_is_its_own_canonical_text),
        cmocka_unit_test(white_space_and_comments_do_not_matter),
        cmocka_unit_test(parameters_stand_for_their_values),
        cmocka_unit_test(parameters_are_checked),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(long_lists_are_fine_and_bounded_where_they_cost),
        cmocka_unit_test(a_funnel_has_at_most_64_steps),
        cmocka_unit_test(the_text_is_bounded_and_utf8),
        cmocka_unit_test(columns_count_characters),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
