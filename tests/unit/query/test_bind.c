/* Tests of query/bind*.c: every kind of mistake with its place and words, and what a bound query holds. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/civil.h"
#include "tests/support/lang_fixture.h"

#include <regex.h>

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

static const struct {
    const char *text;
    const char *error; /* code, line:column: message */
} mistakes[] = {
    {"funel a -> b", "invalid 1:1: expected a verb (trend, distinct, funnel, retention, paths, "
                     "events, show, ...), found \"funel\"; did you mean \"funnel\"?"},
    {"FUNNEL a", "invalid 1:1: expected a verb (trend, distinct, funnel, retention, paths, "
                 "events, show, ...), found \"FUNNEL\"; did you mean \"funnel\"?"},
    {"sequence", "invalid 1:9: expected a pattern in quotes, such as \"(?1)(?t<=3600)(?2)\", found "
                 "the end of the query"},
    {"sequence \"(?1)\"", "invalid 1:16: expected \"over\", found the end of the query"},
    {"sequence \"(?2)\" over a",
     "invalid 1:11: the pattern asks for condition 2, and 1 stand behind \"over\""},
    {"sequence \"(?0)\" over a",
     "invalid 1:11: the pattern asks for condition 0, and 1 stand behind \"over\""},
    {"sequence \"(?1)x\" over a",
     "invalid 1:15: expected (?1), (?t<=3600), \".\" or \".*\" in a pattern"},
    {"sequence \"(?1)(?99999999999999999999)\" over a",
     "invalid 1:15: expected (?1), (?t<=3600), \".\" or \".*\" in a pattern"},
    {"sequence \"(?t<5)(?1)\" over a", "invalid 1:11: a gap stands between two elements"},
    {"sequence \"(?1)(?t<5)\" over a", "invalid 1:15: a gap stands between two elements"},
    {"sequence \"(?1)(?t~5)(?1)\" over a", "invalid 1:18: expected <, <=, =, >= or > behind (?t"},
    {"sequence \"(?1)(?t<)(?1)\" over a",
     "invalid 1:19: expected a time behind (?t<, such as 3600 or 1h"},
    {"sequence \"(?1)(?t<5y)(?1)\" over a",
     "invalid 1:20: expected a unit (ms, s, m, h, d, w) or \")\" of a gap"},
    {"sequence \"(?1)(?t<9223372036854775807w)(?1)\" over a",
     "invalid 1:15: a gap of that many milliseconds is too long"},
    {"sequence \"(?1)\" over a anchor edge", "invalid 1:31: \"anchor\" goes with \"next KEY\""},
    {"sequence \"(?1)\" over a top 3", 
     "invalid 1:28: \"top\" goes with \"next KEY\" or \"by KEY\""},
    {"sequence \"(?1)\" over a next tags",
     "invalid 1:29: property \"tags\" is a list, and \"next\" "
     "needs single values"},
    {"sequence \"(?1)\" over a by channel list users",
     "invalid 1:1: \"list users\" has neither \"by\" nor \"each\""},
    {"sequence \"(?1)\" over a each day list users",
     "invalid 1:1: \"list users\" has neither \"by\" nor \"each\""},
    {"sequence \"(?1)\" over a by channel order by next",
     "invalid 1:44: the answer has no column \"next\", it has channel, users, matches, rate"},
    {"sequence \"(?1)\" over a by tags",
     "invalid 1:27: property \"tags\" is a list, and a breakdown needs single values"},
    {"sequence \"(?1)\" over a match count",
     "invalid 1:30: \"count\" comes on top of another word of its kind"},
    {"sessions conut", "invalid 1:10: expected a measure of sessions (count, users, "
                       "avg_duration_ms, ...), found \"conut\"; did you mean \"count\"?"},
    {"sessions users, users", "invalid 1:17: measure \"users\" is given twice"},
    {"sessions idle 30", "invalid 1:15: \"idle\" lacks a unit (ms, s, m, h, d, w, mo); write for "
                         "example 30m"},
    {"sessions by channel top 3 with other",
     "invalid 1:25: sessions have no \"with other\"; their totals are of everything"},
    {"sessions top 3", "invalid 1:14: \"top\" needs a breakdown: \"by KEY\""},
    {"sessions cut noon", "invalid 1:14: expected \"midnight\", found \"noon\""},
    {"sessions order by median_duration_ms",
     "invalid 1:19: the answer has no column \"median_duration_ms\", it has count, users, "
     "avg_duration_ms, bounce_rate"},
    {"paths starting a", "invalid 1:16: expected \"at\", found \"a\"; did you mean \"at\"?"},
    {"paths between a or b", "invalid 1:17: expected \"and\", found \"or\""},
    {"paths starting at a ending at b",
     "invalid 1:21: \"ending\" comes on top of another word of its kind"},
    {"paths depth 1", "invalid 1:13: \"depth\" takes a whole number from 2 to 50"},
    {"paths exactly 51", "invalid 1:15: \"exactly\" takes a whole number from 1 to 50"},
    {"paths exactly 3 times", "invalid 1:1: \"times\" goes with edges, not with whole paths"},
    {"paths shortest", "invalid 1:1: \"shortest\" paths are those \"between SEL and SEL\""},
    {"paths exactly 3 top 10 with other",
     "invalid 1:21: \"with other\" goes with edges; whole paths are not added up"},
    {"paths variants starting at a",
     "invalid 1:1: \"variants\" are whole journeys: they start and end where these do"},
    {"paths over tags",
     "invalid 1:12: property \"tags\" is a list, and \"over\" needs single values"},
    {"paths by channel each day order by user",
     "invalid 1:36: the answer has no column \"user\"; did you mean \"users\"?"},
    {"paths by channel, channel", "invalid 1:19: key \"channel\" is given twice"},
    {"paths exactly 2 by channel top 3 with other",
     "invalid 1:32: \"with other\" goes with edges; whole paths are not added up"},
    {"paths group \"/p/*\"", "invalid 1:19: expected \"as\", found the end of the query"},
    {"attribution of a",
     "invalid 1:1: attribution gives credit to the values of one key: \"by channel\""},
    {"attribution of a by channel, country",
     "invalid 1:21: attribution gives credit to the values of one key: \"by channel\""},
    {"attribution of a by channel model lineer",
     "invalid 1:35: expected a model (first_touch, last_touch, last_non_direct, linear, "
     "time_decay, "
     "position), found \"lineer\"; did you mean \"linear\"?"},
    {"attribution of a by channel half_life 7d",
     "invalid 1:39: \"half_life\" goes with \"model time_decay\""},
    {"attribution of a by channel model time_decay half_life 0d",
     "invalid 1:56: a half-life is longer than 0"},
    {"attribution of a by channel value sum(channel)",
     "invalid 1:39: \"value\" needs a number, and property \"channel\" is a string"},
    {"attribution of a by channel value avg(amount)",
     "invalid 1:35: expected \"sum\", found \"avg\""},
    {"absence a", "invalid 1:1: absence needs what does not follow, \"-> SEL within 5m\", or how "
                  "long a silence is one, \"gap 10m\""},
    {"absence a -> b", "invalid 1:1: absence needs to know when it is one: \"within 5m\""},
    {"absence a -> b within 5m gap 1m",
     "invalid 1:30: \"gap\" goes with one event, \"within\" with two"},
    {"absence a gap 1m within 5m",
     "invalid 1:25: \"within\" goes with two events, \"gap\" with one"},
    {"absence a gap 1m list users by channel",
     "invalid 1:1: \"list users\" has neither \"by\" nor \"each\""},
    {"intervals a",
     "invalid 1:12: expected \"->\" and the event that ends an interval, found the end "
     "of the query"},
    {"intervals a -> b measure peek",
     "invalid 1:26: expected a measure of intervals (utilisation, peak, online_ms, ...), found "
     "\"peek\"; did you mean \"peak\"?"},
    {"intervals a -> b top 3", "invalid 1:22: \"top\" needs a breakdown: \"by KEY\""},
    {"intervals a -> b by channel top 3 with other",
     "invalid 1:33: intervals have no \"with other\""},
    {"intervals a -> b per mixed", "invalid 1:22: property \"mixed\" is seen as string, number and "
                                   "bool; \"per\" needs one type"},
    {"trend count(a) per channel",
     "invalid 1:20: \"per\" says whose number \"users(...)\" is, and nothing here counts users"},
    {"segment", "invalid 1:8: expected a condition (did(...), count(...) >= 2, reached(...), in "
                "cohort \"...\", not ...), found the end of the query"},
    {"segment dod(register)",
     "invalid 1:9: expected a condition (did(...), count(...) >= 2, reached(...), in cohort "
     "\"...\", not ...), found \"dod\"; did you mean \"did\"?"},
    {"segment did(register last 0d)", "invalid 1:27: \"last\" reaches back at least 1d"},
    {"segment did(register last 7d today)",
     "invalid 1:30: a query has one range: \"today\" comes on top of another"},
    {"segment did(register rolling 1mo)",
     "invalid 1:30: \"rolling\" is elapsed time, and months differ in length; write days, for "
     "example 30d"},
    {"segment did(register) by channel", "invalid 1:23: \"by\" is no clause of segment"},
    {"segment count(register)",
     "invalid 1:24: expected a comparison with a number (=, !=, <, <=, >, >=, between), found the "
     "end of the query"},
    {"segment count(register) > \"a\"", "invalid 1:27: expected a number"},
    {"segment sum(channel of register) > 1",
     "invalid 1:13: a sum, mean, smallest or largest value needs a number, and property "
     "\"channel\" is a string"},
    {"segment first(register)",
     "invalid 1:9: \"first\" asks whether that event lies in a range, and there is none; without "
     "one it is did(...)"},
    {"segment profile.channel = \"pro\" and not profile.vip = true", ""},
    {"segment profile.channel as of event = \"pro\"",
     "invalid 1:9: a person is of no event: \"as of event\" stands in the conditions of events, "
     "did(any[...])"},
    {"segment profile.amount = \"pro\"",
     "invalid 1:26: property \"profile.amount\" is a number and cannot be compared with a string"},
    {"segment profile.channel",
     "invalid 1:24: expected a comparison (=, !=, <, <=, >, >=, in, between, contains, is set, "
     "...), found the end of the query"},
    {"segment reached(funnel register -> place_order, 3)", "invalid 1:49: the funnel has 2 steps"},
    {"segment reached(register, 1)",
     "invalid 1:17: expected \"funnel\" and its steps, found \"register\""},
    {"segment reached(funnel register limit 5, 1)",
     "invalid 1:9: the funnel of \"reached\" takes steps, its own clauses, \"where\" and a range; "
     "what shapes an answer has no place in it"},
    {"segment reached(funnel register count totals, 1)",
     "invalid 1:9: the funnel of \"reached\" is one that counts users, by its steps"},
    {"users of (step = 3) in funnel register -> place_order",
     "invalid 1:18: \"step\" takes a whole number from 1 to 2"},
    {"users of (step = 1, step = 2) in funnel register -> place_order",
     "invalid 1:21: column \"step\" is given twice"},
    {"users of (stop = 1) in funnel register",
     "invalid 1:11: \"stop\" names no cells of this answer: there are its keys, step, dropped, and "
     "time with \"each\""},
    {"users of (channel = 5) in trend users(any) by channel",
     "invalid 1:21: \"channel\" takes text in quotes"},
    {"users of () in trend count(any)",
     "invalid 1:1: 0 measures count users; say which: measure = \"...\""},
    {"users of (next = \"x\") in sequence \"(?1)\" over a",
     "invalid 1:11: \"next\" names no cells of this answer: there are its keys, and time with "
     "\"each\""},
    {"users of (next = 5) in sequence \"(?1)\" over a next channel",
     "invalid 1:18: \"next\" takes text in quotes"},
    {"users of () in sequence \"(?1)\" over a per channel",
     "invalid 1:1: \"users of\" tells people: a value of \"per channel\" is none"},
    {"users of (time = 2025-05-01) in sessions",
     "invalid 1:11: \"time\" names no cells of this answer: there are its keys, and time with "
     "\"each\""},
    {"users of () in sessions count, bounces",
     "invalid 1:1: no cell of this answer counts users; its measures have to have \"users\" among "
     "them"},
    {"users of () in intervals a -> b measure peak",
     "invalid 1:1: no cell of this answer counts users; its measures have to have \"users\" among "
     "them"},
    {"users of () in intervals a -> b per channel",
     "invalid 1:1: \"users of\" tells people: a value of \"per channel\" is none"},
    {"users of (position = 5) in paths",
     "invalid 1:22: \"position\" takes a whole number from 1 to 4"},
    {"users of (from is not set) in paths", "invalid 1:11: \"from\" takes a node in quotes"},
    {"users of (path = (\"a\", \"b\")) in paths",
     "invalid 1:11: \"path\" names no cells of this answer: there are its keys, position, from, to, "
     "and time with \"each\""},
    {"users of (path = (\"a\", 5)) in paths exactly 2",
     "invalid 1:24: \"path\" takes the nodes of a path in quotes: (\"a\", \"b\")"},
    {"users of (channel = (\"a\", \"b\")) in paths by channel",
     "invalid 1:22: \"channel\" takes one value"},
    {"users of (channel = 5) in attribution of a by channel",
     "invalid 1:21: \"channel\" takes text in quotes"},
    {"users of (channel = \"x\") in attribution of a by channel top 3 with other",
     "invalid 1:1: \"users of\" names one group, and \"with other\" is many"},
    {"users of (measure = \"users\") in absence a -> b within 5m",
     "invalid 1:11: \"measure\" names no cells of this answer: there are its keys, and time with "
     "\"each\""},
    {"users of (measure = \"gaps\") in absence a gap 5m",
     "invalid 1:21: \"measure\" takes \"users\" or \"subjects\""},
    {"segment count(place_order last 7d) >= 2 per task_id list users limit 5", ""},
    {"segment unique(channel of any) > 1 and sum(amount) < 3 per user", ""},
    {"segment in cohort \"x\" per task_id",
     "invalid 1:9: \"in cohort\" is said of people, and the segment is one of values of "
     "\"task_id\": "
     "people may be meant by \"where\", or inside of did(any[...])"},
    {"segment did(register) and not user in (\"a\") per task_id",
     "invalid 1:31: \"user in\" is said of people, and the segment is one of values of "
     "\"task_id\": "
     "people may be meant by \"where\", or inside of did(any[...])"},
    {"segment reached(funnel register, 1) per task_id",
     "invalid 1:9: \"reached\" is said of people, and the segment is one of values of \"task_id\": "
     "people may be meant by \"where\", or inside of did(any[...])"},
    {"segment profile.plan = \"pro\" per task_id",
     "invalid 1:9: a property of the profile is said of people, and the segment is one of values "
     "of "
     "\"task_id\": people may be meant by \"where\", or inside of did(any[...])"},
    {"segment did(register) per task_id save cohort \"x\"",
     "invalid 1:47: a cohort is of people, and \"per task_id\" tells values"},
    {"users of () in segment did(register) per task_id",
     "invalid 1:1: \"users of\" tells people: a value of \"per task_id\" is none"},
    {"segment unique(tags of any) > 1 per task_id",
     "invalid 1:16: property \"tags\" is a list, and \"unique\" with \"per\" needs single values"},
    {"segment did(register) per tags",
     "invalid 1:27: property \"tags\" is a list, and \"per\" needs single values"},
    {"events any per task_id", "invalid 1:12: \"per\" is no clause of events"},
    {"trend users(any) list users", "invalid 1:18: \"list\" is no clause of trend"},
    {"why \"t1\" in segment did(register) per task_id", ""},
    {"segment users(any) > 1",
     "invalid 1:9: \"users\" counts people, and a condition is about one of them: did(...)"},
    {"segment 1 + 2 > 1", "invalid 1:9: nothing here is a number of somebody's events"},
    {"segment count(register) * p95(amount) > 1",
     "invalid 1:27: a condition compares count, unique, sum, avg, min and max; no other measure"},
    {"segment (count(register) + 1", "invalid 1:29: expected a comparison with a number (=, !=, <, "
                                     "<=, >, >=, between), found the end "
                                     "of the query"},
    {"segment (count(register) + 1) * 2", "invalid 1:34: expected a comparison with a number (=, "
                                          "!=, <, <=, >, >=, between), found the end "
                                          "of the query"},
    {"users of () in funnel register count totals",
     "invalid 1:1: \"users of\" goes with a funnel that counts users, by its steps"},
    {"segment did(register last 7d including today) and did(place_order last 6h)", ""},
    {"segment did(register last 6h including today)",
     "invalid 1:30: \"including today\" goes with \"last\" and whole days, weeks or months"},
    {"why \"u\" in funnel register -> place_order within 1d", ""},
    {"why register in funnel register",
     "invalid 1:5: expected the id of a user in quotes, found \"register\""},
    {"why \"u\" of funnel register", "invalid 1:9: expected \"in\", found \"of\""},
    {"why \"u\" in trend count(any)",
     "unsupported 1:5: \"why\" goes with funnel, retention and segment; trend is not in this "
     "version"},
    {"why \"u\" in funnel register count totals", ""},
    {"why \"u\" in funnel register -> place_order times", ""},
    {"why \"u\" in retention register -> any each day for 3 average", ""},
    {"why \"u\" in segment did(register) save cohort \"x\"",
     "invalid 1:5: \"why\" asks about one user; \"save cohort\" has no place in it"},
    {"why \"u\" in funnel register last 7d compare previous period", ""},
    {"why \"u\" in funnel register correlate events",
     "invalid 1:5: \"why\" tells how far a user got; \"correlate\" counts what else many did: "
     "leave it out"},
    {"why \"u\" in funnel register order by item",
     "invalid 1:5: \"why\" asks about one user; \"order by\" has no place in it"},
    {"profile funnel register -> pay_success within 1h", ""},
    {"explain profile funnel a",
     "invalid 1:9: expected a verb (trend, distinct, funnel, retention, "
     "paths, events, show, ...), found \"profile\""},
    {"profile segment did(register) save cohort \"x\"",
     "invalid 1:43: profile runs the query for its figures; one that saves a cohort is not run for "
     "them"},
    {"profile drop cohort \"x\"",
     "invalid 1:21: profile runs the query for its figures; \"drop\" is not run for them"},
    {"users of (step = 2) in funnel a", "invalid 1:18: \"step\" takes a whole number from 1 to 1"},
    {"diff 1 in trend count(any)", "invalid 1:8: expected \",\" and the later epoch, found \"in\""},
    {"diff 1, 2 trend count(any)", "invalid 1:11: expected \"in\", found \"trend\""},
    {"explain diff 1, 2 in trend count(any)",
     "invalid 1:9: \"diff\" is four questions: ask explain of the one, \"as of\" an epoch"},
    {"diff 1, 2 in trend count(any) as of 1", "invalid 1:34: \"diff\" says which epochs already"},
    {"diff 1, 2 in events any", "invalid 1:14: \"diff\" compares numbers, and events gives none"},
    {"diff 1, 2 in segment did(any) list users",
     "invalid 1:6: \"diff\" compares numbers: ask how many, without the list"},
    {"diff 1, 2 in trend count(any) by x top 3",
     "invalid 1:40: \"diff\" compares whole answers, line by line, in the order of their keys"},
    {"funnel", "invalid 1:7: expected an event, found the end of the query"},
    {"funnel -> b", "invalid 1:8: expected an event, found \"->\""},
    {"funnel a ->", "invalid 1:12: expected an event, found the end of the query"},
    {"funnel a -> b withn 1h", "invalid 1:15: expected a clause (where, from, last, by, each, "
                               "...), found \"withn\"; did you mean \"within\"?"},
    {"funnel a -> b within", "invalid 1:21: expected a duration (30s, 10m, 1h, 7d) for \"within\", "
                             "found the end of the query"},
    {"funnel a -> b within 5",
     "invalid 1:22: \"within\" lacks a unit (ms, s, m, h, d, w, mo); write for example 5m"},
    {"funnel a -> b within -5m", "invalid 1:22: \"within\" cannot be negative"},
    {"funnel a -> b within 3mo", "invalid 1:22: \"within\" is elapsed time, and months differ in "
                                 "length; write days, for example 90d"},
    {"funnel a -> b within 7days", "invalid 1:22: \"7days\" is neither a number nor a duration; "
                                   "the units are ms, s, m, h, d, w, mo"},
    {"funnel a -> b within 1.5h",
     "invalid 1:22: \"1.5h\": a duration is a whole number of its unit"},
    {"funnel a -> b within 99999999999999999999d",
     "invalid 1:22: the duration \"99999999999999999999d\" is longer than time itself: at most "
     "106751991167d"},
    {"funnel a -> b (-5m)", "invalid 1:16: the limit of a step cannot be negative"},
    {"funnel a -> b (5)", "invalid 1:16: the limit of a step lacks a unit (ms, s, m, h, d, w, mo); "
                          "write for example 5m"},
    {"funnel a (5m) -> b", "invalid 1:10: the first step has no step before it to be limited by"},
    {"funnel a -> b (5m", "invalid 1:18: expected \")\", found the end of the query"},
    {"funnel a? -> b", "invalid 1:9: the first step is the entry: it cannot be optional"},
    {"funnel a! -> b", "invalid 1:9: \"!\" keeps a step's place under \"order any\""},
    {"funnel a -> b?! -> c", "invalid 1:15: a step has one mark: \"?\" or \"!\""},
    {"funnel a -> b (1m) (2m)", "invalid 1:20: a step has one limit"},
    {"funnel a -> b? order any",
     "invalid 1:14: under \"order any\" no step has to be done: \"?\" says nothing"},
    {"funnel a -> b (5m) order any",
     "invalid 1:16: the limit of a step counts from the step before "
     "it, and \"order any\" has none"},
    {"funnel a -> b within 1h within 2h", "invalid 1:25: clause \"within\" is given twice"},
    {"funnel a -> b order loose",
     "invalid 1:21: expected \"by\", \"ordered\", \"strict\" or \"any\", "
     "found \"loose\""},
    {"funnel a -> b without x between 2 and 1",
     "invalid 1:39: \"without ... between\" takes two steps of the funnel, the earlier one first"},
    {"funnel a -> b without x between 1 and 1",
     "invalid 1:39: \"without ... between\" takes two steps of the funnel, the earlier one first"},
    {"funnel a -> b without x between 1 and 3",
     "invalid 1:39: \"without\" takes a whole number from 1 to 2"},
    {"funnel a -> b dropping users with x between 0 and 2",
     "invalid 1:45: \"dropping\" takes a whole number from 1 to 2"},
    {"funnel a -> b dropping x", "invalid 1:24: expected \"users\", found \"x\""},
    {"funnel a -> b -> c without x between 1 and 2 order any",
     "invalid 1:38: under \"order any\" an exclusion spans the whole funnel: between 1 and 3"},
    {"funnel a without x", "invalid 1:18: a funnel of one step has nothing between its steps"},
    {"funnel a -> b considering a",
     "invalid 1:27: \"considering\" says which events \"order strict\" looks at"},
    {"funnel a -> b mode \"strict\"",
     "invalid 1:20: a mode says whose it is: \"clickhouse:strict\""},
    {"funnel a -> b mode \"clickhouse:strict\"",
     "invalid 1:20: no mode \"strict\": there are clickhouse:strict_order, "
     "clickhouse:strict_deduplication, clickhouse:strict_increase and clickhouse:strict_once"},
    {"funnel a -> b reuse mode \"clickhouse:strict_once\"",
     "invalid 1:26: \"clickhouse:strict_once\" is the opposite of \"reuse\""},
    {"funnel a -> b mode \"clickhouse:strict_order\" without x",
     "invalid 1:20: the modes of ClickHouse do not go with \"without\" and \"dropping\""},
    {"funnel a -> b mode \"clickhouse:strict_order\" order any",
     "invalid 1:20: the modes of ClickHouse go in order"},
    {"funnel a -> b? mode \"clickhouse:strict_order\"",
     "invalid 1:14: no step is optional in the modes of ClickHouse"},
    {"funnel a -> b entry first count totals",
     "invalid 1:33: \"entry first\" follows one attempt, \"count totals\" all of them"},
    {"funnel a -> b entry last", "invalid 1:21: expected \"first\", found \"last\""},
    {"funnel a -> b attempt best",
     "invalid 1:23: expected \"earliest\" or \"latest\", found \"best\""},
    {"funnel a -> b count people",
     "invalid 1:21: expected \"users\", \"totals\" or \"sessions\", found \"people\""},
    {"funnel a -> b trend single",
     "invalid 1:21: \"trend single\" says how \"each\" divides the funnel, and there is none"},
    {"segment reached(funnel a -> b trend single, 2)",
     "invalid 1:37: \"trend single\" says how \"each\" divides the funnel, and there is none"},
    {"funnel a -> b each day trend double", "invalid 1:30: expected \"single\", found \"double\""},
    {"funnel a -> b each day trend single trend single",
     "invalid 1:37: clause \"trend\" is given twice"},
    {"funnel a -> b list users each day trend single",
     "invalid 1:31: \"list users\" does not go with \"each\""},
    {"funnel a -> b correlate events each day trend single",
     "invalid 1:37: \"correlate\" does not go with \"each\""},
    {"retention a -> b each day trend single", "invalid 1:27: \"trend\" is no clause of retention"},
    {"funnel a -> b holding tags",
     "invalid 1:23: property \"tags\" is a list, and \"holding\" needs single values"},
    {"funnel a -> b by channel at step 3",
     "invalid 1:34: \"at step\" takes a whole number from 1 to 2"},
    {"funnel a -> b by channel at all",
     "invalid 1:32: expected \"steps\", found the end of the query"},
    {"funnel a -> b times (5m, 1m)", "invalid 1:26: the edges of times ascend"},
    {"funnel a times",
     "invalid 1:1: \"times\" says how long the way to the last step takes: a funnel "
     "of two steps or more"},
    {"funnel a -> b times list users",
     "invalid 1:1: \"times\", \"list users\" and \"correlate\" are answers of their own: one at a "
     "time"},
    {"funnel a -> b list users by channel", "invalid 1:29: \"list users\" does not go with \"by\""},
    {"funnel a -> b correlate events each day",
     "invalid 1:37: \"correlate\" does not go with \"each\""},
    {"funnel a -> b list users count totals", "invalid 1:32: \"list users\" is about users"},
    {"funnel a -> b at step 1",
     "invalid 1:18: \"at step\" says where \"by\" is read, and there is none"},
    {"funnel a -> b ties loose", "invalid 1:20: expected \"strict\", found \"loose\""},
    {"funnel any of", "invalid 1:12: expected a clause (where, from, last, by, each, ...), found "
                      "\"of\"; did you mean \"on\"?"},
    {"funnel in -> b", "invalid 1:8: expected an event, found the reserved word \"in\"; as a name "
                       "it stands in backquotes"},
    {"funnel a | b", "invalid 1:10: alternatives stand in parentheses: (a | b)"},
    {"funnel (a | b -> c", "invalid 1:15: expected \"|\" or \")\", found \"->\""},
    {"funnel \"\"", "invalid 1:8: the name of an event is not empty"},
    {"trend count(any) per device_id",
     "invalid 1:22: \"per\" says whose number \"users(...)\" is, and nothing here counts users"},
    {"trend count(any) compare previous period",
     "invalid 1:26: \"compare previous\" needs a range with a begin and an end"},
    {"trend count(any) as of 1.5", "invalid 1:24: expected an epoch (the number in an answer's "
                                   "meta.epoch) or an instant; an epoch is a whole number"},
    {"trend count(any) as of \"x\"", "invalid 1:24: expected an epoch (the number in an answer's "
                                     "meta.epoch) or an instant, found \"x\""},
    {"trend count(any) as of 12 as of 13", "invalid 1:27: clause \"as\" is given twice"},
    {"show cohorts as of 12",
     "invalid 1:20: segments, cohorts and metrics are shown as they are now, as of no epoch"},
    {"segment reached(funnel a -> b within 1d as of 12, 2)",
     "invalid 1:44: \"as of\" is said of the whole question, at its end"},
    {"trend count(any) identity",
     "invalid 1:26: expected \"now\" or \"event_time\", found the end of "
     "the query"},
    {"trend count(any) identity event_tiem",
     "invalid 1:27: expected \"now\" or \"event_time\", found \"event_tiem\"; did you mean "
     "\"event_time\"?"},
    {"trend count(any) identity now identity event_time",
     "invalid 1:31: clause \"identity\" is given twice"},
    {"segment reached(funnel a -> b within 1d identity event_time, 2)",
     "invalid 1:50: \"identity\" is said of the whole question, at its end"},
    {"show cohorts identity event_time",
     "invalid 1:23: \"identity\" is of questions about events: segments, cohorts and metrics are "
     "what they are"},
    {"segment did(any) identity event_time save cohort \"x\"",
     "invalid 1:50: a live cohort is asked with the identity of the question that names it; save "
     "it "
     "without \"identity\", or \"static\""},
    {"segment did(any) as of 12 save cohort \"x\"",
     "invalid 1:39: a live cohort is asked anew whenever it is used; as of an epoch save it "
     "\"static\""},
    {"trend count(any) exclude cohort \"bots\"", "not_found 1:33: no cohort \"bots\" is saved"},
    {"trend count(any) save cohort \"x\"", "invalid 1:18: \"save\" is no clause of trend"},
    {"trend within 1h", "invalid 1:7: expected a measure (count, users, unique, sum, avg, min, "
                        "max, first, last, median, p95), found \"within\""},
    {"trend count(any) within 1h", "invalid 1:18: \"within\" is no clause of trend"},
    {"trend", "invalid 1:6: expected a measure (count, users, unique, sum, avg, min, max, first, "
              "last, median, p95), found the end of the query"},
    {"trend count", "invalid 1:7: expected a measure (count, users, unique, sum, avg, min, max, "
                    "first, last, median, p95), found \"count\""},
    {"trend cuont(any)",
     "invalid 1:7: expected a measure (count, users, unique, sum, avg, min, max, first, last, "
     "median, p95), found \"cuont\"; did you mean \"count\"?"},
    {"trend count()", "invalid 1:13: expected an event, found \")\""},
    {"trend metric(\"gmv\")", "not_found 1:7: no metric \"gmv\" is defined"},
    {"metric(\"gmv\") last 30d", "not_found 1:1: no metric \"gmv\" is defined"},
    {"trend metric(gmv)", "invalid 1:14: expected the name of a metric in quotes, found \"gmv\""},
    {"trend metric(\"gmv\", 0)", "invalid 1:21: \"metric\" takes a whole number from 1 to 10000"},
    {"trend p0(amount)", "invalid 1:7: percentile \"p0\" is not between 0 and 100; both excluded"},
    {"trend p100(amount)",
     "invalid 1:7: percentile \"p100\" is not between 0 and 100; both excluded"},
    {"trend p99.(amount)", "invalid 1:7: expected a measure (count, users, unique, sum, avg, min, "
                           "max, first, last, median, p95), found \"p99.\""},
    {"trend sum(channel)",
     "invalid 1:11: sum needs a number, and property \"channel\" is a string"},
    {"trend sum(mixed of any), sum(vip)",
     "invalid 1:30: sum needs a number, and property \"vip\" is a bool"},
    {"trend unique(mixed)",
     "invalid 1:14: property \"mixed\" is seen as string, number and bool; unique needs one type"},
    {"trend 1 + 1",
     "invalid 1:7: a measure is made of count, users, sum and their kin, and this one has none"},
    {"trend count(any) as x, users(any) as x",
     "invalid 1:38: two measures are called \"x\"; name one with \"as\""},
    {"trend rolling 7d users(any)",
     "invalid 1:7: \"rolling\" looks back from the end of each bucket: it needs \"each\""},
    {"trend rolling 1mo users(any) each day",
     "invalid 1:15: \"rolling\" is elapsed time, and months differ in length; write days, for "
     "example 30d"},
    {"trend rolling 0s users(any) each day", "invalid 1:15: a rolling window is longer than 0"},
    {"trend count(any) each", "invalid 1:22: expected a unit of time (second, minute, hour, day, "
                              "week, month, quarter, year, 5m), found the end of the query"},
    {"trend count(any) each dya",
     "invalid 1:23: expected a unit of time (second, minute, hour, day, week, month, quarter, "
     "year, 5m), found \"dya\"; did you mean \"day\"?"},
    {"trend count(any) each 0s", "invalid 1:23: a bucket is longer than 0"},
    {"trend count(any) each 7",
     "invalid 1:23: \"each\" lacks a unit (ms, s, m, h, d, w, mo); write for example 7m"},
    {"trend count(any) each second last 30d",
     "limit 1:23: the range has 2592000 such buckets, the limit is 100000"},
    {"trend count(any) each 30h",
     "invalid 1:23: a time bucket of 30 hours: expected 1 .. 24 (from a day on, count in days)"},
    {"trend count(any) top 5", "invalid 1:22: \"top\" needs a breakdown: \"by KEY\""},
    {"trend count(any) by channel top 0",
     "invalid 1:33: \"top\" takes a whole number from 1 to 10000"},
    {"trend count(any) by channel top 10001",
     "invalid 1:33: \"top\" takes a whole number from 1 to 10000"},
    {"trend count(any) by channel top x",
     "invalid 1:33: expected a whole number after \"top\", found \"x\""},
    {"trend count(any) by channel top 5 with others",
     "invalid 1:40: expected \"other\", found \"others\"; did you mean \"other\"?"},
    {"trend count(any) by channel, channel", "invalid 1:30: key \"channel\" is given twice"},
    {"trend count(any) by mixed", "invalid 1:21: property \"mixed\" is seen as string, number and "
                                  "bool; a breakdown needs one type"},
    {"trend count(any) by tags",
     "invalid 1:21: property \"tags\" is a list, and a breakdown needs single values"},
    {"trend count(any) by bucket(amount)",
     "invalid 1:34: expected \",\" and the edges of the buckets, found \")\""},
    {"trend count(any) by bucket(amount, 5, 5)", "invalid 1:39: the edges of buckets ascend"},
    {"trend count(any) by bucket(channel, 5)",
     "invalid 1:28: bucket needs a number, and property \"channel\" is a string"},
    {"trend count(any) by a1,a2,a3,a4,a5,a6,a7,a8,a9,a10,a11,a12,a13,a14,a15,a16,a17",
     "limit 1:76: a breakdown has at most 16 keys"},
    {"trend count(any) by where channel = \"x\"",
     "invalid 1:21: expected a property, found the reserved word \"where\"; as a name it stands in "
     "backquotes"},
    {"trend count(any) by channel by platform", "invalid 1:29: clause \"by\" is given twice"},
    {"trend count(any) order by chanel",
     "invalid 1:27: the answer has no column \"chanel\", it has count(any)"},
    {"trend count(any) by channel order by chanel",
     "invalid 1:38: the answer has no column \"chanel\"; did you mean \"channel\"?"},
    {"trend count(any) order up", "invalid 1:24: expected \"by\", found \"up\""},
    {"trend count(any) limit 0", "invalid 1:24: \"limit\" takes a whole number from 1 to 1000000"},
    {"trend count(any) limit 1000001",
     "invalid 1:24: \"limit\" takes a whole number from 1 to 1000000"},
    {"trend count(any) limit 1.5",
     "invalid 1:24: \"limit\" takes a whole number from 1 to 1000000"},
    {"trend count(any) limit -1", "invalid 1:24: \"limit\" takes a whole number from 1 to 1000000"},
    {"trend count(any) last", "invalid 1:22: expected a duration (30s, 10m, 1h, 7d) for \"last\", "
                              "found the end of the query"},
    {"trend count(any) last 0d", "invalid 1:23: \"last\" reaches back at least 1d"},
    {"trend count(any) last 30d last 7d",
     "invalid 1:27: a query has one range: \"last\" comes on top of another"},
    {"trend count(any) last 30d from 2025-01-01",
     "invalid 1:27: a query has one range: \"from\" comes on top of another"},
    {"trend count(any) from 2025-01-01 from 2025-02-01",
     "invalid 1:34: clause \"from\" is given twice"},
    {"trend count(any) from 2025-02-01 to 2025-01-01",
     "invalid 1:37: the range ends before it begins"},
    {"trend count(any) from 2025-13-01",
     "invalid 1:23: \"2025-13-01\" is no date or time: month is not 01..12"},
    {"trend count(any) from 2025-02-30 to 2025-03-01",
     "invalid 1:23: \"2025-02-30\" is no date or time: the month has no such day"},
    {"trend count(any) from 2025-5-1", "invalid 1:23: expected a date or an instant (2025-05-01, "
                                       "2025-05-01T08:00, now - 6h), found \"2025\""},
    {"trend count(any) from \"2025-05-01\"",
     "invalid 1:23: expected a date or an instant (2025-05-01, 2025-05-01T08:00, now - 6h), found "
     "\"2025-05-01\""},
    {"trend count(any) from now + 6h", "invalid 1:27: only the past is known: write now - 6h"},
    {"trend count(any) from now - 6", "invalid 1:29: the time before now lacks a unit (ms, s, m, "
                                      "h, d, w, mo); write for example 6m"},
    {"trend count(any) last 9999999d",
     "invalid 1:23: 9999999d reaches back beyond the calendar, which begins in the year -9999"},
    {"trend count(any) last 99999999999d",
     "invalid 1:23: 99999999999d reaches back beyond the calendar, which begins in the year -9999"},
    {"trend count(any) from now - 4000000000mo",
     "invalid 1:29: 4000000000mo reaches back beyond the calendar, which begins in the year -9999"},
    {"trend count(any) on 2025-05-01T08:00",
     "invalid 1:21: \"on\" takes a date such as 2025-05-01; from and to take instants"},
    {"trend count(any) on now",
     "invalid 1:21: \"on\" takes a date such as 2025-05-01; from and to take instants"},
    {"trend count(any) from 2025-05-01T8:00",
     "invalid 1:23: malformed time; dates are written 2025-05-01, instants 2025-05-01T08:00, "
     "2025-05-01T08:00:00.000Z or 2025-05-01T08:00+08:00"},
    {"trend count(any) from 2025-05-01T08:00X",
     "invalid 1:23: malformed time; dates are written 2025-05-01, instants 2025-05-01T08:00, "
     "2025-05-01T08:00:00.000Z or 2025-05-01T08:00+08:00"},
    {"trend count(any) last 6h including today",
     "invalid 1:26: \"including today\" goes with \"last\" and whole days, weeks or months"},
    {"trend count(any) including today",
     "invalid 1:18: \"including today\" goes with \"last\" and whole days, weeks or months"},
    {"trend count(any) tz \"Europe/Pariss\"",
     "invalid 1:21: unknown time zone \"Europe/Pariss\"; did you mean \"Europe/Paris\"?"},
    {"trend count(any) tz UTC",
     "invalid 1:21: expected a time zone in quotes, such as \"Europe/Paris\", found \"UTC\""},
    {"trend count(any) week starts someday",
     "invalid 1:30: expected a day of the week (monday, ..., sunday), found \"someday\"; did you "
     "mean \"monday\"?"},
    {"trend users(any) each day approx",
     "unsupported 1:27: \"approx\" is not in this version: answers are always exact"},
    {"users of (step = 2) in funnel a -> b approx",
     "unsupported 1:38: \"approx\" is not in this version: answers are always exact"},
    {"show events approx",
     "unsupported 1:13: \"approx\" is not in this version: answers are always exact"},
    {"segment reached(funnel a -> b approx, 2)",
     "unsupported 1:31: \"approx\" is not in this version: answers are always exact"},
    {"funnel a -> b within 1d grace 2s",
     "unsupported 1:25: \"grace\" is not in this version: events of one millisecond are taken in "
     "any order, and order between milliseconds is kept"},
    {"retention a -> b grace 2s",
     "invalid 1:18: expected a clause (where, from, last, by, each, ...), found \"grace\""},
    {"trend count(any) `approx`",
     "invalid 1:18: expected a clause (where, from, last, by, each, ...), found `approx`"},
    {"trend count(any) columns (a)", "invalid 1:18: \"columns\" is no clause of trend"},
    {"trend count(any) closed", "invalid 1:18: \"closed\" is no clause of trend"},
    {"retention a", "invalid 1:12: expected \"->\" and the event that people return with, found "
                    "the end of the query"},
    {"retention a -> b",
     "invalid 1:1: retention needs its period: \"each day\", \"each week\", \"each month\""},
    {"retention a -> b each day",
     "invalid 1:1: retention needs the number of periods: \"for 30\" is periods 0 to 30"},
    {"retention a -> b for 3",
     "invalid 1:1: retention needs its period: \"each day\", \"each week\", \"each month\""},
    {"retention a -> b each day for 10000",
     "invalid 1:31: \"for\" takes a whole number from 0 to 9999"},
    {"retention a -> b each 5m for 3", "invalid 1:23: a period of retention is an hour or longer"},
    {"retention a -> b each day for 3 first recurring",
     "invalid 1:39: \"recurring\" comes on top of another word of its kind"},
    {"retention a -> b each day for 3 exact unbounded",
     "invalid 1:39: \"unbounded\" comes on top of another word of its kind"},
    {"retention a -> b each day bracket (3-1)",
     "invalid 1:36: a bracket goes from a period to a later one"},
    {"retention a -> b each day bracket 1",
     "invalid 1:35: expected \"(\" and periods, as in bracket (1, 2-7, 8-14), found \"1\""},
    {"retention a -> b each day for 3 streak until",
     "invalid 1:40: \"until\" comes on top of another word of its kind"},
    {"retention a -> b each day for 3 rolling calendar",
     "invalid 1:41: clause \"calendar\" is given twice"},
    {"retention a -> b each day for 3 value max(amount)",
     "invalid 1:39: expected \"sum\" or \"avg\", found \"max\""},
    {"retention a -> b each day for 3 value sum(channel)",
     "invalid 1:43: \"value\" needs a number, and property \"channel\" is a string"},
    {"retention a -> b each day for 3 discount 0.1",
     "invalid 1:33: \"discount\" is no clause of retention"},
    {"ltv a each month for 12",
     "invalid 1:1: ltv needs the money: \"value sum(amount of pay_success)\""},
    {"ltv a value sum(amount) for 12",
     "invalid 1:1: ltv needs its period: \"each day\", \"each week\", \"each month\""},
    {"ltv a value avg(amount) each month for 12", "invalid 1:13: expected \"sum\", found \"avg\""},
    {"ltv a value sum(amount) each month for 12 discount 1.5",
     "invalid 1:52: \"discount\" takes a rate per period from 0 to 1"},
    {"ltv a value sum(amount) each month for 12 unbounded",
     "invalid 1:43: \"unbounded\" is no clause of ltv"},
    {"churn of any last 30d",
     "invalid 1:7: expected a duration (30s, 10m, 1h, 7d) for churn, found "
     "\"of\""},
    {"churn 12h of any last 30d",
     "invalid 1:7: churn takes whole civil days, 1d to 3660d, as in \"churn 14d of active\""},
    {"churn 14d of any",
     "invalid 1:1: churn needs its window, \"last 30d\" or from and to; or say \"last_seen\""},
    {"churn 14d of any last 13d",
     "invalid 1:7: the window is shorter than the 14 days of silence that make churn"},
    {"churn 1d of any last 30h", "invalid 1:17: the window of churn begins and ends with a day"},
    {"churn 14d of any last 30d by channel top 3 order by churned desc limit 2", ""},
    {"churn 14d of any last 30d by channel top 2 with other",
     "invalid 1:42: churn by a property of events has no \"with other\": people of several values "
     "would be in it twice; it goes with properties of profiles"},
    {"churn 14d of any last 30d by channel list users",
     "invalid 1:30: \"list users\" has no lines to put them in: leave \"by\" out, or ask for "
     "\"users of (...) in\" this question"},
    {"churn 14d of any each month last 6mo order by time desc", ""},
    {"churn 14d of any each week last 6w",
     "invalid 1:23: the window from 2025-03-31 is shorter than the 14 days of silence that make "
     "churn"},
    {"churn 14d of any each month last 20d",
     "invalid 1:23: the window from 2025-04-25 is shorter than the 14 days of silence that make "
     "churn"},
    {"churn 14d of any each month last_seen",
     "invalid 1:23: \"last_seen\" has no windows for \"each\" to tell apart"},
    {"churn 14d of any each month last 3mo list users",
     "invalid 1:23: \"list users\" has no windows for \"each\" to tell apart"},
    {"churn 1d of any each 6h last 3d", "invalid 1:22: the windows of churn are whole days"},
    {"conditions register, place_order by channel, vip top 2 order by users limit 5", ""},
    {"conditions register by channel order by period",
     "invalid 1:41: the answer has no column \"period\", it has channel, condition, event, users, "
     "rate"},
    {"conditions register list users order by met", ""},
    {"conditions register per task_id list users order by task_id", ""},
    {"conditions register by channel top 2 with other",
     "invalid 1:36: conditions by a property of events has no \"with other\": people of several "
     "values would be in it twice; it goes with properties of profiles"},
    {"conditions register each day", "invalid 1:21: \"each\" is no clause of conditions"},
    {"users of (condition = 2) in conditions register, place_order list users limit 3", ""},
    {"users of (condition = 3) in conditions register, place_order",
     "invalid 1:23: \"condition\" takes a whole number from 1 to 2"},
    {"users of (measure = \"new\", time = 2025-05-01) in lifecycle of any each day save cohort "
     "\"x\"",
     ""},
    {"users of (measure = \"newer\") in lifecycle of any",
     "invalid 1:21: \"measure\" takes a column that counts people: \"new\", \"returning\", "
     "\"resurrecting\", \"dormant\""},
    {"users of (state = \"new\") in lifecycle of any",
     "invalid 1:11: \"state\" names no cells of this answer: there are its keys, time and measure"},
    {"users of (periods = 3) in stickiness of any", ""},
    {"users of (periods = 3, time = 2025-05-01) in stickiness of any",
     "invalid 1:24: \"time\" names no cells of this answer: there are its keys and periods"},
    {"users of (time = 2025-05-01) in stickiness of any over month", ""},
    {"users of (time = 2025-05-01, measure = \"mau_28d\") in stickiness dau_mau of any rolling 28d",
     ""},
    {"users of (measure = \"dau_mau\") in stickiness dau_mau of any",
     "invalid 1:21: \"measure\" takes a column that counts people: \"mau\""},
    {"users of (measure = \"churned\", time = 2025-05-01) in churn 14d of any each month last 3mo",
     ""},
    {"users of (measure = \"rate\") in churn 14d of any last 30d",
     "invalid 1:21: \"measure\" takes a column that counts people: \"base\", \"churned\""},
    {"users of () in churn 14d of any last 30d per task_id",
     "invalid 1:1: \"users of\" tells people: a value of \"per task_id\" is none"},
    {"users of (period = \"2-7\") in retention register -> any each day bracket (1, 2-7)", ""},
    {"users of (period = 1) in retention register -> any each day bracket (1, 2-7)", ""},
    {"users of (period = 2) in retention register -> any each day bracket (1, 2-7)",
     "invalid 1:20: the answer has no such bracket"},
    {"users of (period = 2, cohort = 2025-05-01) in ltv register value sum(amount) each day for 3",
     ""},
    {"users of (period = 2) in ltv register value sum(amount) each day for 3 average",
     "invalid 1:1: \"users of\" goes with cohorts of users and periods: not with \"per\" or "
     "\"average\""},
    {"lifecycle any", "invalid 1:11: expected \"of\", found \"any\""},
    {"lifecycle of any each day by channel top 2 order by new desc", ""},
    {"lifecycle of any each day by channel top 2 with other",
     "invalid 1:42: lifecycle by a property of events has no \"with other\": people of several "
     "values would be in it twice; it goes with properties of profiles"},
    {"lifecycle of any each day by profile.plan top 2 with other per task_id",
     "invalid 1:47: lifecycle by a property of events has no \"with other\": people of several "
     "values would be in it twice; it goes with properties of profiles"},
    {"stickiness of any each day by channel order by channel", ""},
    {"stickiness dau_mau of any by channel",
     "invalid 1:30: \"by\" goes with the histogram, \"stickiness of\""},
    {"lifecycle of any each day at least 2", "invalid 1:27: \"at\" is no clause of lifecycle"},
    {"stickiness of any each day at first 2", "invalid 1:31: expected \"most\", found \"first\""},
    {"stickiness of any each day at least 2 at most 3",
     "invalid 1:39: clause \"at\" is given twice"},
    {"stickiness of any each day rolling 28d",
     "invalid 1:36: \"rolling\" goes with \"stickiness dau_mau of\""},
    {"stickiness dau_mau of any rolling 4w",
     "invalid 1:35: \"rolling\" of dau_mau takes 1d to 366d, as in \"rolling 28d\""},
    {"stickiness dau_mau of any each day",
     "invalid 1:32: dau_mau is of days over civil months, or \"rolling 28d\""},
    {"stickiness dau_mau of any cumulative",
     "invalid 1:1: \"cumulative\" and numbers of events go with the histogram, \"stickiness of\""},
    {"stickiness dau_mau of any per channel", "invalid 1:31: dau_mau is of users"},
    {"conditions a,", "invalid 1:14: expected an event, found the end of the query"},
    {"stickiness a each day", "invalid 1:12: expected \"of\", found \"a\""},
    {"retention a -> b each day for 3 at least 0",
     "invalid 1:42: \"at least\" takes a whole number from 1 to 1000000"},
    {"retention a -> b each day for 3 at most 3",
     "invalid 1:36: expected \"least\", found \"most\""},
    {"retention a -> b each day for 3 within 1h",
     "invalid 1:33: \"within\" is no clause of retention"},
    {"retention first a -> b each day for 3",
     "invalid 1:17: expected \"->\" and the event that people return with, found \"a\""},
    {"distinct user", "invalid 1:14: expected \"of\", found the end of the query"},
    {"distinct of any", "invalid 1:10: expected a property, found the reserved word \"of\"; as a "
                        "name it stands in backquotes"},
    {"distinct mixed of any", "invalid 1:10: property \"mixed\" is seen as string, number and "
                              "bool; distinct needs one type"},
    {"events", "invalid 1:7: expected an event, found the end of the query"},
    {"events any columns ()", "invalid 1:21: expected a property, found \")\""},
    {"events any columns (a, a)", "invalid 1:24: column \"a\" is given twice"},
    {"events any columns (mixed)", "invalid 1:21: property \"mixed\" is seen as string, number and "
                                   "bool; a column needs one type"},
    {"events any order by mixed", "invalid 1:21: property \"mixed\" is seen as string, number and "
                                  "bool; \"order by\" needs one type"},
    {"events any by channel", "invalid 1:12: \"by\" is no clause of events"},
    {"timeline", "invalid 1:9: expected the id of a user in quotes, found the end of the query"},
    {"timeline u_42", "invalid 1:10: expected the id of a user in quotes, found \"u_42\""},
    {"timeline \"\"", "invalid 1:10: the id of a user is not empty"},
    {"timeline \"u\" columns (a)", "invalid 1:14: \"columns\" is no clause of timeline"},
    {"show", "invalid 1:5: expected events, properties, values, segments, cohorts, metrics or "
             "profiles, found the end of the query"},
    {"show evnts", "invalid 1:6: expected events, properties, values, segments, cohorts, metrics "
                   "or profiles, found \"evnts\"; "
                   "did you mean \"events\"?"},
    {"show cohorts", ""},
    {"drop \"a\"", "invalid 1:6: expected \"cohort\", found \"a\""},
    {"show metrics", ""},
    {"show metrics of gmv", "invalid 1:17: expected the name of a metric in quotes, found \"gmv\""},
    {"show values", "invalid 1:12: expected \"of\", found the end of the query"},
    {"show values of mixed", "invalid 1:16: property \"mixed\" is seen as string, number and bool; "
                             "show values needs one type"},
    {"show events where a = 1", "invalid 1:13: \"where\" is no clause of show"},
    {"events any where", "invalid 1:17: expected a property, found the end of the query"},
    {"events any where channel", "invalid 1:25: expected a comparison (=, !=, <, <=, >, >=, in, "
                                 "between, contains, is set, ...), found the end of the query"},
    {"events any where channel == \"a\"",
     "invalid 1:26: \"==\" is no operator; did you mean \"=\"?"},
    {"events any where channel <> \"a\"",
     "invalid 1:26: \"<>\" is no operator; did you mean \"!=\"?"},
    {"events any where channel = ios",
     "invalid 1:28: expected a value, found the name \"ios\"; text stands in quotes"},
    {"events any where channel = null",
     "invalid 1:28: \"null\" is no value; ask \"is set\" or \"is not set\""},
    {"events any where channel is null", "invalid 1:29: \"null\" is no value; ask \"is not set\""},
    {"events any where channel is not null", "invalid 1:33: \"null\" is no value; ask \"is set\""},
    {"events any where channel like \"a\"",
     "invalid 1:26: expected a comparison (=, !=, <, <=, >, >=, in, between, contains, is set, "
     "...), found \"like\""},
    {"events any where \"channel\" = 1",
     "invalid 1:18: expected a property, found a string; such a name stands bare or in backquotes"},
    {"events any where channel = 1",
     "invalid 1:28: property \"channel\" is a string and cannot be compared with a number"},
    {"events any where amount = \"1\"",
     "invalid 1:27: property \"amount\" is a number and cannot be compared with a string"},
    {"events any where amount = true",
     "invalid 1:27: property \"amount\" is a number and cannot be compared with a bool"},
    {"events any where vip > true",
     "invalid 1:24: true and false have no order; compare by = or !="},
    {"events any where vip = \"true\"",
     "invalid 1:24: property \"vip\" is a bool and cannot be compared with a string"},
    {"events any where mixed = 2025-05-01",
     "invalid 1:26: property \"mixed\" is a string, number and bool and cannot be compared with a "
     "timestamp; as text it stands in quotes"},
    {"events any where channel > 2025-05-01",
     "invalid 1:28: property \"channel\" is a string and cannot be compared with a timestamp; as "
     "text it stands in quotes"},
    {"events any where event_time = \"yesterday\"",
     "invalid 1:31: \"yesterday\" is no date or time: expected a date as in 2025-05-01"},
    {"events any where event_time = 5",
     "invalid 1:31: property \"event_time\" is a timestamp and cannot be compared with a number"},
    {"events any where channel in ()", "invalid 1:30: expected a value, found \")\""},
    {"events any where channel in (\"a\", 1)",
     "invalid 1:35: the values of \"in\" have one type: this is a number, the first a string"},
    {"events any where channel in \"a\"",
     "invalid 1:29: expected \"(\" and the values of \"in\", found \"a\""},
    {"events any where channel not \"a\"", "invalid 1:30: expected \"in\", found \"a\""},
    {"events any where amount between 1 or 2", "invalid 1:35: expected \"and\", found \"or\""},
    {"events any where amount contains 1",
     "invalid 1:34: \"contains\" takes text in quotes, not a number"},
    {"events any where amount contains \"1\"",
     "invalid 1:34: property \"amount\" is a number and cannot be compared with a string"},
    {"events any where channel matches \"[a\"",
     "invalid 1:34: \"[a\" is no regular expression: Unmatched [, [^, [:, [., or [="},
    {"events any where channel matches \"(a)\\\\1\"",
     "invalid 1:34: a regular expression here has no back-references"},
    {"events any where channel matches \"((((((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+\"",
     "limit 1:34: the repetitions of the regular expression make it larger than the limit of 10000 "
     "nodes"},
    {"events any where channel matches \"(a{200}){200}\"",
     "limit 1:34: the repetitions of the regular expression make it larger than the limit of 10000 "
     "nodes"},
    {"events any where in cohort \"vip\"", "not_found 1:28: no cohort \"vip\" is saved"},
    {"events any where not in cohort \"vip\"", "not_found 1:32: no cohort \"vip\" is saved"},
    {"events any where channel in cohort \"vip\"",
     "invalid 1:29: expected \"(\" and the values of \"in\", found \"cohort\""},
    {"events any where profile.channel = \"pro\"", ""},
    {"trend count(any[profile.amount as of event > 3]) by profile.channel, bucket(profile.amount, "
     "0, 10)",
     ""},
    {"trend count(any) by profile.mixed",
     "invalid 1:21: property \"profile.mixed\" is seen as string, number and bool; a breakdown "
     "needs one type"},
    {"trend count(any) by profile.tags",
     "unsupported 1:21: \"profile.tags\" is a list, and profiles have single values"},
    {"trend count(any) by profile. channel",
     "invalid 1:21: expected a property right behind \"profile.\": profile.plan"},
    {"trend count(any) by profile.channel, profile.channel",
     "invalid 1:38: key \"profile.channel\" is given twice"},
    {"trend count(any) by profile.channel, profile.channel as of event", ""},
    {"trend sum(profile.amount of any)",
     "unsupported 1:11: a property of the profile stands in conditions and behind \"by\", not "
     "here; a property of the event with this name stands in backquotes"},
    {"events any where profile.vip > true",
     "invalid 1:32: true and false have no order; compare by = or !="},
    {"events any where profile.a1 = 1 and profile.a1 as of event = 1",
     "line 1, column 18: no property \"a1\" has been seen\n"
     "line 1, column 37: no property \"a1\" has been seen"},
    {"events any where profile.chanel = \"x\"",
     "line 1, column 18: no property \"chanel\" has been seen; did you mean \"channel\"?"},
    {"events any where (channel = \"a\"",
     "invalid 1:32: expected \")\", found the end of the query"},
    {"events any where channel = \"a\" and",
     "invalid 1:35: expected a property, found the end of the query"},
    {"events any where channel = \"abc", "invalid 1:28: the string is not closed on its line"},
    {"events any where channel = \"a\\x\"",
     "invalid 1:30: unknown escape in a string; known are \\n \\t \\\\ \\\" \\' \\uXXXX"},
    {"events any where channel = \"\\ud800\"",
     "invalid 1:29: unknown escape in a string; known are \\n \\t \\\\ \\\" \\' \\uXXXX"},
    {"events any where `channel = 1",
     "invalid 1:18: the name in backquotes is not closed on its line"},
    {"events any where `` = 1", "invalid 1:18: a name in backquotes is empty"},
    {"events any where channel = :x", "invalid 1:28: parameter \":x\" has no value"},
    {"events any where a = 12abc", "invalid 1:22: \"12abc\" is neither a number nor a duration; "
                                   "the units are ms, s, m, h, d, w, mo"},
    {"events any where a = 1e999", "invalid 1:22: \"1e999\" is not a number or too large for one"},
    {"events any where a = -x", "invalid 1:23: expected a number after \"-\", found \"x\""},
    {"events any where a ~ 1", "invalid 1:20: unexpected character \"~\"; names with other "
                               "characters than A-Z a-z 0-9 _ . $ stand in backquotes"},
    {"events any where é = 1", "invalid 1:18: unexpected character \"é\"; names with other "
                               "characters than A-Z a-z 0-9 _ . $ stand in backquotes"},
    {"events any where :x = 1", "invalid 1:18: expected a property, found \":x\""},
    {"trend count(any) each day 5",
     "invalid 1:27: expected a clause (where, from, last, by, each, ...), found \"5\""},
    {"funnel a -> (b | c)[x = 1]",
     "invalid 1:20: expected a clause (where, from, last, by, each, ...), found \"[\""},
    {"explain explain funnel a", "invalid 1:9: expected a verb (trend, distinct, funnel, "
                                 "retention, paths, events, show, ...), found \"explain\""},
    {"trend count(each) each each", "invalid 1:24: expected a unit of time (second, minute, hour, "
                                    "day, week, month, quarter, year, 5m), found \"each\""},
    {"funnel \"sign up\" -> 'it''s'",
     "invalid 1:25: expected a clause (where, from, last, by, each, ...), found 's'"},
    {"trend rolling(any)", "invalid 1:7: expected a measure (count, users, unique, sum, avg, min, "
                           "max, first, last, median, p95), found \"rolling\""},
    {"trend users(a), users(a), users(a) as b",
     "invalid 1:17: two measures are called \"users(a)\"; name one with \"as\""},
    {"trend users(a) as x, users( a ) as y, count(a | b)",
     "invalid 1:47: alternatives stand in parentheses: (a | b)"},
};

static void every_mistake_is_named_at_its_place(void **state)
{
    (void)state;
    assert_true(COUNT_OF(mistakes) >= 80);
    for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
        assert_string_equal(lang_outcome(&fixture, mistakes[i].text), mistakes[i].error);
    }
}

static const struct {
    const char *text;
    const char *warnings;
} unknown[] = {
    {"trend count(by) by by each day", "line 1, column 13: no event \"by\" has been seen\nline 1, "
                                       "column 20: no property \"by\" has been seen"},
    {"funnel \"first\" -> first -> last", "line 1, column 28: no event \"last\" has been seen"},
    {"events any where `profile.plan` = \"pro\"",
     "line 1, column 18: no property \"profile.plan\" has been seen"},
    {"distinct `user` of any", "line 1, column 10: no property \"user\" has been seen; users(any) "
                               "counts people, user_id is their id"},
    {"show values of `user id`",
     "line 1, column 16: no property \"user id\" has been seen; did you mean \"user_id\"?"},
    {"trend count($pageview)",
     "line 1, column 13: no event \"$pageview\" has been seen; did you mean \"page_view\"?"},
    {"funnel pay_sucess -> register",
     "line 1, column 8: no event \"pay_sucess\" has been seen; did you mean \"pay_success\"?"},
    {"events any\n  where chanel = \"a\"",
     "line 2, column 9: no property \"chanel\" has been seen; did you mean \"channel\"?"},
};

static void names_never_seen_are_warnings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        assert_string_equal(lang_outcome(&fixture, unknown[i].text), unknown[i].warnings);
    }
}

static void an_empty_data_set_warns_of_nothing(void **state)
{
    (void)state;
    struct lang_fixture empty;
    lang_fixture_open(&empty, true);
    assert_string_equal(lang_outcome(&empty, "funnel a -> b[c = 1] by d"), "");
    lang_fixture_close(&empty);
}

/* ---- what a bound query holds ---- */

static const struct bound_query *bound(const char *text)
{
    const struct bound_query *query = NULL;
    struct err err = {0};
    if (lang_bind(&fixture, text, &query, &err) != ERR_OK) {
        fail_msg("%s: %u:%u: %s", text, err.line, err.column, err.message);
    }
    return query;
}

static void check_range(const char *clauses, const char *from, const char *to, bool is_partial)
{
    CLEANUP(buf_freep) struct buf text = {0};
    buf_printf(&text, "trend count(any) %s", clauses);
    buf_u8(&text, '\0');
    const struct bound_query *query = bound((const char *)text.ptr);
    char room[CIVIL_TEXT_BYTES];
    assert_true(query->has_range);
    assert_string_equal(civil_format_instant(query->zone, query->from_ms, room).ptr, from);
    assert_string_equal(civil_format_instant(query->zone, query->to_ms, room).ptr, to);
    assert_int_equal(query->has_partial, is_partial);
    query_unbind(query);
}

/* The clock stands at Thursday 2025-05-15T12:00Z. */
static void ranges_are_whole_civil_units_of_the_zone(void **state)
{
    (void)state;
    check_range("last 1d", "2025-05-14T00:00:00Z", "2025-05-15T00:00:00Z", false);
    check_range("last 30d", "2025-04-15T00:00:00Z", "2025-05-15T00:00:00Z", false);
    check_range("last 1d including today", "2025-05-14T00:00:00Z", "2025-05-16T00:00:00Z", true);
    check_range("last 2w", "2025-04-28T00:00:00Z", "2025-05-12T00:00:00Z", false);
    check_range("last 2w week starts sunday", "2025-04-27T00:00:00Z", "2025-05-11T00:00:00Z",
                false);
    check_range("last 6mo", "2024-11-01T00:00:00Z", "2025-05-01T00:00:00Z", false);
    check_range("last 1mo including today", "2025-04-01T00:00:00Z", "2025-06-01T00:00:00Z", true);
    check_range("today", "2025-05-15T00:00:00Z", "2025-05-16T00:00:00Z", true);
    check_range("last 6h", "2025-05-15T06:00:00Z", "2025-05-15T12:00:00Z", false);
    check_range("last 90m", "2025-05-15T10:30:00Z", "2025-05-15T12:00:00Z", false);
    check_range("last 30s", "2025-05-15T11:59:30Z", "2025-05-15T12:00:00Z", false);
    check_range("on 2025-05-01", "2025-05-01T00:00:00Z", "2025-05-02T00:00:00Z", false);
    check_range("on 2025-05-15", "2025-05-15T00:00:00Z", "2025-05-16T00:00:00Z", true);
    check_range("from 2025-05-01 to 2025-05-01", "2025-05-01T00:00:00Z", "2025-05-01T00:00:00Z",
                false);
    check_range("from now - 6h to now", "2025-05-15T06:00:00Z", "2025-05-15T12:00:00Z", false);
    check_range("from now - 1mo to 2025-05-15T12:00", "2025-04-15T12:00:00Z",
                "2025-05-15T12:00:00Z", false);
}

static void the_zone_holds_wherever_it_stands(void **state)
{
    (void)state;
    check_range("tz \"Asia/Shanghai\" last 1d", "2025-05-14T00:00:00+08:00",
                "2025-05-15T00:00:00+08:00", false);
    check_range("last 1d tz \"Asia/Shanghai\"", "2025-05-14T00:00:00+08:00",
                "2025-05-15T00:00:00+08:00", false);
    check_range("from 2025-05-01T08:00 to 2025-05-01T08:00Z tz \"Asia/Shanghai\"",
                "2025-05-01T08:00:00+08:00", "2025-05-01T16:00:00+08:00", false);
    /* a day of 23 hours, and one that never was */
    check_range("on 2025-03-30 tz \"Europe/Paris\"", "2025-03-30T00:00:00+01:00",
                "2025-03-31T00:00:00+02:00", false);
    check_range("on 2011-12-30 tz \"Pacific/Apia\"", "2011-12-31T00:00:00+14:00",
                "2011-12-31T00:00:00+14:00", false);
}

static void no_range_or_half_of_one_is_open(void **state)
{
    (void)state;
    const struct bound_query *query = bound("trend count(any)");
    assert_false(query->has_range);
    assert_true(query->from_ms == INT64_MIN && query->to_ms == INT64_MAX);
    query_unbind(query);
    query = bound("trend count(any) from 2025-05-01");
    assert_true(query->has_range && query->from_ms > 0 && query->to_ms == INT64_MAX);
    query_unbind(query);
    query = bound("trend count(any) to 2025-05-01");
    assert_true(query->has_range && query->from_ms == INT64_MIN && query->to_ms > 0);
    query_unbind(query);
}

static void equal_selectors_and_aggregates_of_a_trend_are_shared(void **state)
{
    (void)state;
    const struct bound_query *query =
        bound("trend users(any) as a, sum(amount of pay_success) / users( any ) as b, "
              "sum(amount) as c, p50(amount) as d, median(amount of any) as e, p99.9(amount) as f");
    assert_int_equal(query->selector_count, 2);
    assert_int_equal(query->agg_count, 5);
    assert_int_equal(query->measure_count, 6);
    assert_int_equal(query->measures[0].expr->kind, EXPR_AGG);
    assert_int_equal(query->measures[1].expr->kind, EXPR_DIV);
    assert_int_equal(query->measures[1].expr->right->agg, query->measures[0].expr->agg);
    assert_int_equal(query->measures[3].expr->agg, query->measures[4].expr->agg);
    double quantile = query->aggs[query->measures[5].expr->agg].quantile;
    assert_true(quantile >= 0.999 && quantile <= 0.999);
    query_unbind(query);
}

static void labels_are_the_source_text_with_single_spaces(void **state)
{
    (void)state;
    const struct bound_query *query =
        bound("trend count( pay_success[ channel  =\n \"a  b\" ] ) # why\n / 2, users(any) as u");
    assert_true(
        str_eq(query->measures[0].name, STR("count( pay_success[ channel = \"a  b\" ] ) / 2")));
    assert_true(str_eq(query->measures[1].name, STR("u")));
    query_unbind(query);
    query = bound("funnel register -> (pay_success |  first) (1h) -> 'sign up'");
    assert_true(str_eq(query->funnel.steps[0].label, STR("register")));
    assert_true(str_eq(query->funnel.steps[1].label, STR("(pay_success | first)")));
    assert_true(str_eq(query->funnel.steps[2].label, STR("'sign up'")));
    query_unbind(query);
}

static void a_funnel_keeps_a_selector_for_each_step(void **state)
{
    (void)state;
    const struct bound_query *query =
        bound("funnel register -> register (10m) -> any within 0s ties strict closed by channel");
    assert_int_equal(query->verb, VERB_FUNNEL);
    assert_int_equal(query->selector_count, 3);
    assert_int_equal(query->funnel.step_count, 3);
    assert_int_equal(query->funnel.steps[1].selector, 1);
    assert_false(query->funnel.steps[0].has_limit);
    assert_true(query->funnel.steps[1].has_limit);
    assert_int_equal(query->funnel.steps[1].limit_ms, 600000);
    assert_int_equal(query->funnel.window_ms, 0);
    assert_true(query->funnel.is_strict_ties && query->funnel.is_closed);
    assert_int_equal(query->keys[0].field.kind, FIELD_PROP);
    assert_int_equal(query->keys[0].field.col, COL_FIRST_PROP);
    query_unbind(query);
    query = bound("explain funnel register");
    assert_true(query->is_explain);
    assert_true(query->funnel.window_ms == UINT64_MAX);
    query_unbind(query);
}

static void retention_binds_its_words(void **state)
{
    (void)state;
    const struct bound_query *query = bound("retention register -> active each day for 30");
    assert_int_equal(query->retention.start, RETENTION_FIRST_EVER);
    assert_int_equal(query->retention.mode, RETENTION_EXACT);
    assert_int_equal(query->retention.unit, CIVIL_DAY);
    assert_int_equal(query->retention.unit_count, 1);
    assert_int_equal(query->retention.period_count, 31);
    assert_int_equal(query->retention.at_least, 1);
    assert_int_equal(query->selectors[query->retention.return_selector].alts[0].kind, ALT_ANY);
    query_unbind(query);
    query = bound("retention register -> any unbounded first_ever unfiltered each 2w at least 3 "
                  "for 0");
    assert_int_equal(query->retention.start, RETENTION_FIRST_EVER_UNFILTERED);
    assert_int_equal(query->retention.mode, RETENTION_UNBOUNDED);
    assert_int_equal(query->retention.unit, CIVIL_WEEK);
    assert_int_equal(query->retention.unit_count, 2);
    assert_int_equal(query->retention.period_count, 1);
    assert_int_equal(query->retention.at_least, 3);
    query_unbind(query);
}

/* ---- predicates ---- */

static void literals_choose_among_the_types_of_a_name(void **state)
{
    (void)state;
    const struct bound_query *query = bound("events any where mixed = 1");
    assert_int_equal(query->where->kind, PRED_EQ);
    assert_int_equal(query->where->field.type, COL_NUMBER);
    query_unbind(query);
    query = bound("events any where mixed in (\"a\", \"b\")");
    assert_int_equal(query->where->field.type, COL_STRING);
    assert_int_equal(query->where->value_count, 2);
    query_unbind(query);
    query = bound("events any where mixed is not set");
    assert_int_equal(query->where->kind, PRED_AND);
    assert_int_equal(query->where->kid_count, 3);
    assert_int_equal(query->where->kids[2]->kind, PRED_IS_NOT_SET);
    query_unbind(query);
    query = bound("events any where label = \"a\""); /* a string column and a list column */
    assert_int_equal(query->where->kind, PRED_OR);
    assert_int_equal(query->where->kid_count, 2);
    query_unbind(query);
    query = bound("events any where event_time >= \"2025-05-01\" and received_at < 2025-05-01");
    assert_int_equal(query->where->kids[0]->values[0].type, COL_TIME);
    assert_true(query->where->kids[0]->values[0].ts_ms == query->where->kids[1]->values[0].ts_ms);
    assert_int_equal(query->where->kids[1]->field.kind, FIELD_RECEIVED_AT);
    query_unbind(query);
    query = bound("events any where nobody != 1");
    assert_int_equal(query->where->field.kind, FIELD_UNKNOWN);
    assert_true(query->where->field.col == UINT32_MAX);
    query_unbind(query);
}

static void regular_expressions_are_compiled(void **state)
{
    (void)state;
    const struct bound_query *query =
        bound("events any where channel matches \"^(a|b)[[:digit:]]{2,3}$\"");
    const regex_t *regex = query->where->regex;
    assert_int_equal(regexec(regex, "b123", 0, NULL, 0), 0);
    assert_int_equal(regexec(regex, "c123", 0, NULL, 0), REG_NOMATCH);
    query_unbind(query);
    query_unbind(NULL);
}

static void rows_have_default_limits(void **state)
{
    (void)state;
    const struct bound_query *query = bound("events any columns (event_time, nobody)");
    assert_true(query->has_limit && query->limit == 100 && query->column_count == 2);
    query_unbind(query);
    query = bound("timeline \"u\"");
    assert_true(query->has_limit && query->limit == 1000);
    assert_true(str_eq(query->subject_id, STR("u")));
    query_unbind(query);
    query = bound("trend count(any)");
    assert_false(query->has_limit);
    query_unbind(query);
}

static void order_by_names_a_column_of_the_answer(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t column;
    } cases[] = {
        {"trend count(any) as n by channel each day order by time", 0},
        {"trend count(any) as n by channel each day order by channel", 1},
        {"trend count(any) as n by channel each day order by n desc", 2},
        {"trend count(any) by channel order by count(any)", 1},
        {"distinct user of any by channel order by distinct", 1},
        {"funnel register by channel order by p90_ms", 9},
        {"retention register -> any each day for 3 by channel order by complete", 6},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct bound_query *query = bound(cases[i].text);
        assert_true(query->has_order);
        assert_int_equal(query->order.column, cases[i].column);
        query_unbind(query);
    }
}

static void events_are_ordered_by_any_field_shown_or_not(void **state)
{
    (void)state;
    static const char *const texts[] = {"events any columns (user_id) order by amount desc",
                                        "events any order by amount desc"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        const struct bound_query *query = bound(texts[i]);
        assert_true(query->has_order && query->order.is_descending);
        assert_true(str_eq(query->order_field.name, STR("amount")));
        assert_int_equal(query->order_field.type, COL_NUMBER);
        query_unbind(query);
    }
}

static void a_spent_budget_is_a_limit(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, 1024, "query memory");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&budget);
    struct query_request request = {.text = STR("funnel register -> pay_success"),
                                    .now_ms = LANG_NOW_MS};
    const struct bound_query *query = NULL;
    struct err err = {0};
    assert_int_equal(query_bind(&request, &fixture.snapshot, NULL, arena, &query, &err), ERR_LIMIT);
    assert_null(query);
}

/* ---- query_error_show ---- */

static void check_shown(const char *text, uint32_t line, uint32_t column, const char *want)
{
    struct err err = {.line = line, .column = column};
    CLEANUP(buf_freep) struct buf out = {0};
    query_error_show(str_of(text), &err, &out);
    buf_u8(&out, '\0');
    assert_string_equal((const char *)out.ptr, want);
}

static void the_caret_stands_under_the_place(void **state)
{
    (void)state;
    check_shown("funnel a -> b withn 1h", 1, 15,
                "    funnel a -> b withn 1h\n                  ^\n");
    check_shown("a\n\tb ?\nc", 2, 4, "     b ?\n       ^\n");
    check_shown("a", 1, 2, "    a\n     ^\n");
    check_shown("", 1, 1, "    \n    ^\n");
    check_shown("a", 0, 0, "");
    check_shown("a", 9, 3, "    \n    ^\n");
    check_shown("\"\xe6\xb3\xa8\" ?", 1, 5, "    \"\xe6\xb3\xa8\" ?\n         ^\n");
    check_shown("\xff\xfe ?", 1, 4, "    ?? ?\n       ^\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake_is_named_at_its_place),
        cmocka_unit_test(names_never_seen_are_warnings),
        cmocka_unit_test(an_empty_data_set_warns_of_nothing),
        cmocka_unit_test(ranges_are_whole_civil_units_of_the_zone),
        cmocka_unit_test(the_zone_holds_wherever_it_stands),
        cmocka_unit_test(no_range_or_half_of_one_is_open),
        cmocka_unit_test(equal_selectors_and_aggregates_of_a_trend_are_shared),
        cmocka_unit_test(labels_are_the_source_text_with_single_spaces),
        cmocka_unit_test(a_funnel_keeps_a_selector_for_each_step),
        cmocka_unit_test(retention_binds_its_words),
        cmocka_unit_test(literals_choose_among_the_types_of_a_name),
        cmocka_unit_test(regular_expressions_are_compiled),
        cmocka_unit_test(rows_have_default_limits),
        cmocka_unit_test(order_by_names_a_column_of_the_answer),
        cmocka_unit_test(events_are_ordered_by_any_field_shown_or_not),
        cmocka_unit_test(a_spent_budget_is_a_limit),
        cmocka_unit_test(the_caret_stands_under_the_place),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
