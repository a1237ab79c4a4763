-- The questions of the comparison, and how each engine is asked. questions.mjs reads this file.
--
--   -- question NAME: what it asks
--   -- trackway TEXT          our query; several lines are several queries, whose times add up
--   -- answer SHAPE           how our table becomes the peers' rows: answers.mjs
--   -- touches COLUMNS of PREDICATE; ...   the least that has to be read: the bytes of these columns for these rows
--                             ("range": all rows of 2024-07-31 and later), or "sets any": the stored sets of who did anything on each day
--   -- note TEXT              under the table
--   -- clickhouse [LABEL; OPTION; ...]     then its SQL; several: each is timed, the fastest counts
--   -- duckdb [LABEL; OPTION; ...]
-- options: only al, only bl (a layout) | settings NAME=VALUE | coarse: compared without its first column, summed |
--          loose: a definition that differs from ours in what the note says, timed but not compared | check: compared, not timed.
--
-- Data: 90 days from 2024-06-01, UTC. {T} is the table; {USER} the number of the user with most events. uid is the user's number,
-- which is what an expert who encodes ids by hand has; user_id is its text.

-- question Q1: page views per day
-- trackway trend count(page_view) each day
-- answer table 1
-- touches event_name of true; event_time of event_name='page_view'
-- clickhouse
SELECT toDate(event_time) d, count() FROM {T} WHERE event_name='page_view' GROUP BY d ORDER BY d
-- duckdb
SELECT event_time::DATE d, count(*) FROM {T} WHERE event_name='page_view' GROUP BY d ORDER BY d

-- question Q2: distinct users per day (DAU)
-- trackway distinct user of any each day
-- answer table 1
-- touches sets any
-- clickhouse
SELECT toDate(event_time) d, uniqExact(uid) FROM {T} GROUP BY d ORDER BY d
-- clickhouse bitmap
SELECT toDate(event_time) d, groupBitmap(uid) FROM {T} GROUP BY d ORDER BY d
-- clickhouse distinct pairs
SELECT d, count() FROM (SELECT DISTINCT uid, toDate(event_time) d FROM {T}) GROUP BY d ORDER BY d
-- duckdb
SELECT event_time::DATE d, count(DISTINCT uid) FROM {T} GROUP BY d ORDER BY d
-- duckdb distinct pairs
SELECT d, count(*) FROM (SELECT DISTINCT uid, event_time::DATE d FROM {T}) GROUP BY d ORDER BY d

-- question Q3: distinct users by platform, 30 days
-- trackway distinct user of any by platform from 2024-07-31 to 2024-08-30
-- answer table 1
-- touches event_time, platform, subject of range
-- clickhouse
SELECT platform, uniqExact(uid) FROM {T} WHERE event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00' GROUP BY platform ORDER BY platform
-- clickhouse bitmap
SELECT platform, groupBitmap(uid) FROM {T} WHERE event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00' GROUP BY platform ORDER BY platform
-- clickhouse distinct pairs
SELECT platform, count() FROM (SELECT DISTINCT uid, platform FROM {T} WHERE event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00') GROUP BY platform ORDER BY platform
-- duckdb
SELECT platform, count(DISTINCT uid) FROM {T} WHERE event_time>='2024-07-31' AND event_time<'2024-08-30' GROUP BY platform ORDER BY platform
-- duckdb distinct pairs
SELECT platform, count(*) FROM (SELECT DISTINCT uid, platform FROM {T} WHERE event_time>='2024-07-31' AND event_time<'2024-08-30') GROUP BY platform ORDER BY platform

-- question Q4: distinct users under three filters
-- trackway distinct user of any where platform = "ios" and channel = "organic" and country = "CN"
-- answer table 0
-- touches platform, channel, country of true; subject of platform='ios' AND channel='organic' AND country='CN'
-- clickhouse
SELECT uniqExact(uid) FROM {T} WHERE platform='ios' AND channel='organic' AND country='CN'
-- clickhouse bitmap
SELECT groupBitmap(uid) FROM {T} WHERE platform='ios' AND channel='organic' AND country='CN'
-- duckdb
SELECT count(DISTINCT uid) FROM {T} WHERE platform='ios' AND channel='organic' AND country='CN'

-- question Q5: funnel of 3 steps within 7 days, 30 days
-- trackway funnel register -> place_order -> pay_success within 7d closed from 2024-07-31 to 2024-08-30
-- answer funnel 0
-- touches event_name of range; event_time, subject of event_time>='2024-07-31' AND event_name IN ('register','place_order','pay_success')
-- clickhouse
SELECT level, count() FROM (SELECT uid, windowFunnel(604800000)(toUInt64(toUnixTimestamp64Milli(event_time)), event_name='register', event_name='place_order', event_name='pay_success') level FROM {T} WHERE event_name IN ('register','place_order','pay_success') AND event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00' GROUP BY uid) WHERE level>0 GROUP BY level ORDER BY level
-- duckdb
WITH e AS (SELECT uid u, epoch_ms(event_time) t, CASE event_name WHEN 'register' THEN 1 WHEN 'place_order' THEN 2 ELSE 3 END s FROM {T} WHERE event_name IN ('register','place_order','pay_success') AND event_time>='2024-07-31' AND event_time<'2024-08-30'),
 a AS (SELECT *, max(CASE WHEN s=1 THEN t END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f1 FROM e),
 b AS (SELECT *, max(CASE WHEN s=2 AND t-f1<=604800000 THEN f1 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f2 FROM a),
 l AS (SELECT u, max(CASE WHEN s=3 AND t-f2<=604800000 THEN 3 WHEN f2 IS NOT NULL THEN 2 WHEN f1 IS NOT NULL THEN 1 ELSE 0 END) lv FROM b GROUP BY u)
SELECT lv, count(*) FROM l WHERE lv>0 GROUP BY lv ORDER BY lv

-- question Q6: funnel of 5 steps within 1 day by platform, 90 days
-- trackway funnel page_view -> feature_invoke -> task_submit -> place_order -> pay_success within 1d by platform
-- answer funnel 1
-- touches event_name of true; event_time, subject of event_name IN ('page_view','feature_invoke','task_submit','place_order','pay_success'); platform of event_name='page_view'
-- note The platform is that of the first step of the attempt shown (the first to reach the user's level, of those the one that starts last): DuckDB's SQL says just that. windowFunnel cannot: ClickHouse takes the platform of the user's first page_view, and is compared without the breakdown.
-- clickhouse coarse
SELECT toString(pf), level, count() FROM (SELECT uid, windowFunnel(86400000)(toUInt64(toUnixTimestamp64Milli(event_time)), event_name='page_view', event_name='feature_invoke', event_name='task_submit', event_name='place_order', event_name='pay_success') level, argMinIf(platform, event_time, event_name='page_view') pf FROM {T} WHERE event_name IN ('page_view','feature_invoke','task_submit','place_order','pay_success') GROUP BY uid) WHERE level>0 GROUP BY pf, level ORDER BY 1,2
-- duckdb
WITH e AS (SELECT uid u, epoch_ms(event_time) m, m*8 + CASE platform WHEN 'android' THEN 7 WHEN 'h5' THEN 6 WHEN 'ios' THEN 5 WHEN 'mini_program' THEN 4 ELSE 3 END t, CASE event_name WHEN 'page_view' THEN 1 WHEN 'feature_invoke' THEN 2 WHEN 'task_submit' THEN 3 WHEN 'place_order' THEN 4 ELSE 5 END s FROM {T} WHERE event_name IN ('page_view','feature_invoke','task_submit','place_order','pay_success')),
 a AS (SELECT *, max(CASE WHEN s=1 THEN t END) OVER w f1 FROM e WINDOW w AS (PARTITION BY u ORDER BY m,s ROWS UNBOUNDED PRECEDING)),
 b AS (SELECT *, max(CASE WHEN s=2 AND m-f1//8<=86400000 THEN f1 END) OVER w f2 FROM a WINDOW w AS (PARTITION BY u ORDER BY m,s ROWS UNBOUNDED PRECEDING)),
 c AS (SELECT *, max(CASE WHEN s=3 AND m-f2//8<=86400000 THEN f2 END) OVER w f3 FROM b WINDOW w AS (PARTITION BY u ORDER BY m,s ROWS UNBOUNDED PRECEDING)),
 d AS (SELECT *, max(CASE WHEN s=4 AND m-f3//8<=86400000 THEN f3 END) OVER w f4 FROM c WINDOW w AS (PARTITION BY u ORDER BY m,s ROWS UNBOUNDED PRECEDING)),
 r AS (SELECT u, m, CASE WHEN s=1 THEN 1 WHEN s=2 AND m-f1//8<=86400000 THEN 2 WHEN s=3 AND m-f2//8<=86400000 THEN 3 WHEN s=4 AND m-f3//8<=86400000 THEN 4 WHEN s=5 AND m-f4//8<=86400000 THEN 5 ELSE 0 END lv, CASE s WHEN 1 THEN t WHEN 2 THEN f1 WHEN 3 THEN f2 WHEN 4 THEN f3 ELSE f4 END st FROM d),
 l AS (SELECT u, max(lv) lv, arg_max(st, (lv, -m, st)) st FROM r WHERE lv>0 GROUP BY u)
SELECT CASE st%8 WHEN 7 THEN 'android' WHEN 6 THEN 'h5' WHEN 5 THEN 'ios' WHEN 4 THEN 'mini_program' ELSE 'web' END pf, lv, count(*) FROM l GROUP BY ALL ORDER BY 1,2
-- duckdb first page_view; coarse
WITH e AS (SELECT uid u, epoch_ms(event_time) t, platform, CASE event_name WHEN 'page_view' THEN 1 WHEN 'feature_invoke' THEN 2 WHEN 'task_submit' THEN 3 WHEN 'place_order' THEN 4 ELSE 5 END s FROM {T} WHERE event_name IN ('page_view','feature_invoke','task_submit','place_order','pay_success')),
 a AS (SELECT *, max(CASE WHEN s=1 THEN t END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f1 FROM e),
 b AS (SELECT *, max(CASE WHEN s=2 AND t-f1<=86400000 THEN f1 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f2 FROM a),
 c AS (SELECT *, max(CASE WHEN s=3 AND t-f2<=86400000 THEN f2 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f3 FROM b),
 d AS (SELECT *, max(CASE WHEN s=4 AND t-f3<=86400000 THEN f3 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f4 FROM c),
 l AS (SELECT u, max(CASE WHEN s=5 AND t-f4<=86400000 THEN 5 WHEN f4 IS NOT NULL THEN 4 WHEN f3 IS NOT NULL THEN 3 WHEN f2 IS NOT NULL THEN 2 WHEN f1 IS NOT NULL THEN 1 ELSE 0 END) lv, arg_min(platform,t) FILTER (s=1) pf FROM d GROUP BY u)
SELECT pf, lv, count(*) FROM l WHERE lv>0 GROUP BY pf,lv ORDER BY 1,2

-- question Q7: retention, register then any event, days 0 to 30
-- trackway retention register -> any each day for 30 from 2024-06-01 to 2024-07-31
-- answer retention size
-- touches sets any; event_name of true; event_time, subject of event_name='register'
-- note Period 0 is the size of the cohort on both sides.
-- clickhouse
SELECT c, dateDiff('day',c,d) n, count() FROM (SELECT uid, min(toDate(event_time)) c FROM {T} WHERE event_name='register' GROUP BY uid HAVING c<'2024-07-31') r INNER JOIN (SELECT DISTINCT uid, toDate(event_time) d FROM {T}) e USING (uid) WHERE n BETWEEN 0 AND 30 GROUP BY c,n ORDER BY c,n
-- clickhouse arrays
SELECT c, toInt64(d)-toInt64(c) n, count() FROM (SELECT uid, minIf(toDate(event_time), event_name='register') c, groupUniqArray(toDate(event_time)) ds FROM {T} GROUP BY uid HAVING countIf(event_name='register')>0 AND c<'2024-07-31') ARRAY JOIN ds AS d WHERE n BETWEEN 0 AND 30 GROUP BY c,n ORDER BY c,n
-- clickhouse bits
SELECT addDays(toDate('2024-06-01'),c0) c, n, count() FROM (SELECT uid, minIf(toUInt8(toDate(event_time)-toDate('2024-06-01')), event_name='register') c0, countIf(event_name='register') k, groupBitOr(bitShiftLeft(toUInt128(1), toUInt8(toDate(event_time)-toDate('2024-06-01')))) m FROM {T} GROUP BY uid HAVING k>0 AND c0<60) ARRAY JOIN range(31) AS n WHERE bitAnd(bitShiftRight(m, toUInt8(c0+n)), toUInt128(1))=1 GROUP BY c,n ORDER BY c,n
-- duckdb
SELECT c, d-c n, count(*) FROM (SELECT uid u, min(event_time)::DATE c FROM {T} WHERE event_name='register' GROUP BY u HAVING c<'2024-07-31'::DATE) r JOIN (SELECT DISTINCT uid u, event_time::DATE d FROM {T}) e USING (u) WHERE d-c BETWEEN 0 AND 30 GROUP BY c,n ORDER BY c,n

-- question Q8: weekly retention, register then pay_success
-- trackway retention register -> pay_success each week for 13
-- answer retention users
-- touches event_name of true; event_time, subject of event_name IN ('register','pay_success')
-- clickhouse
SELECT c, intDiv(dateDiff('day',c,w),7) n, count() FROM (SELECT uid, toMonday(min(event_time)) c FROM {T} WHERE event_name='register' GROUP BY uid) r INNER JOIN (SELECT DISTINCT uid, toMonday(event_time) w FROM {T} WHERE event_name='pay_success') e USING (uid) WHERE w>=c GROUP BY c,n ORDER BY c,n
-- duckdb
SELECT c, (w-c)//7 n, count(*) FROM (SELECT uid u, date_trunc('week',min(event_time))::DATE c FROM {T} WHERE event_name='register' GROUP BY u) r JOIN (SELECT DISTINCT uid u, date_trunc('week',event_time)::DATE w FROM {T} WHERE event_name='pay_success') e USING (u) WHERE w>=c GROUP BY c,n ORDER BY c,n

-- question Q9: segment, in a city and paid twice in 7 days
-- trackway segment did(any[city = "city_000"]) and count(pay_success last 7d) >= 2
-- answer table 0
-- touches city of true; subject of city='city_000'; event_name of event_time>='2024-08-23'; subject of event_time>='2024-08-23' AND event_name='pay_success'
-- clickhouse
SELECT uniqExact(uid) FROM {T} WHERE city='city_000' AND uid IN (SELECT uid FROM {T} WHERE event_name='pay_success' AND event_time>='2024-08-23 00:00:00' AND event_time<'2024-08-30 00:00:00' GROUP BY uid HAVING count()>=2)
-- duckdb
SELECT count(DISTINCT uid) FROM {T} WHERE city='city_000' AND uid IN (SELECT uid FROM {T} WHERE event_name='pay_success' AND event_time>='2024-08-23' AND event_time<'2024-08-30' GROUP BY uid HAVING count(*)>=2)

-- question Q10: p50, p95, p99 of latency per hour, 7 days
-- trackway trend count(perf_api), median(latency_ms of perf_api), p95(latency_ms of perf_api), p99(latency_ms of perf_api) each hour from 2024-08-23 to 2024-08-30
-- answer table 1
-- touches event_name of event_time>='2024-08-23'; event_time, latency_ms of event_time>='2024-08-23' AND event_name='perf_api'
-- clickhouse
SELECT h, c, q[1], q[2], q[3] FROM (SELECT toStartOfHour(event_time) h, count() c, quantilesExactInclusive(0.5,0.95,0.99)(latency_ms) q FROM {T} WHERE event_name='perf_api' AND event_time>='2024-08-23 00:00:00' AND event_time<'2024-08-30 00:00:00' GROUP BY h) ORDER BY h
-- duckdb
SELECT h, c, q[1], q[2], q[3] FROM (SELECT date_trunc('hour',event_time) h, count(*) c, quantile_cont(latency_ms,[0.5,0.95,0.99]) q FROM {T} WHERE event_name='perf_api' AND event_time>='2024-08-23' AND event_time<'2024-08-30' GROUP BY h) ORDER BY h

-- question Q11: revenue per day and channel
-- trackway trend sum(amount of pay_success) each day by channel
-- answer table 2
-- touches event_name of true; event_time, channel, amount of event_name='pay_success'
-- clickhouse
SELECT toDate(event_time) d, toString(channel) ch, sum(amount) FROM {T} WHERE event_name='pay_success' GROUP BY d,channel ORDER BY d,ch
-- duckdb
SELECT event_time::DATE d, channel ch, sum(amount) FROM {T} WHERE event_name='pay_success' GROUP BY d,ch ORDER BY d,ch

-- question Q12: most frequent paths of 3 events inside a session, 30 days
-- trackway paths exactly 3 top 20 per session_id keep repeats from 2024-07-31 to 2024-08-30
-- answer paths
-- touches event_time, event_name, session_id of range
-- note Events of one millisecond stand in the order of their ids. The timed peers' SQL orders them by name, which spares them the ids; a check that is not timed uses ids, and the answer is compared with that.
-- clickhouse names; loose
SELECT arrayStringConcat([a,b,c],'>') p, count() n FROM (SELECT arraySort(groupArray((event_time, event_name))) s, arrayMap(x->toString(x.2), s) v, arrayJoin(arrayZip(arraySlice(v,1,length(v)-2), arraySlice(v,2,length(v)-2), arraySlice(v,3))) z, z.1 a, z.2 b, z.3 c FROM {T} WHERE event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00' GROUP BY session_id HAVING count()>=3) GROUP BY a,b,c ORDER BY n DESC, p LIMIT 20
-- clickhouse numbers; loose
WITH ['page_view','feature_invoke','click_button','click_banner','click_tab','perf_api','session_start','register','login','place_order','pay_success','pay_fail','pay_refund','task_submit','task_success','task_fail','qr_scan','coupon_receive','coupon_use','share_action','search','add_to_cart','view_item','app_error','push_open'] AS names, arraySort(names) AS sn
SELECT concat(sn[bitShiftRight(z,16)],'>',sn[bitAnd(bitShiftRight(z,8),255)],'>',sn[bitAnd(z,255)]) p, sum(k) n FROM (SELECT z, count() k FROM (SELECT arraySort(groupArray(toUInt64(toUnixTimestamp64Milli(event_time))*256 + transform(event_name, sn, arrayMap(x->toUInt8(x), arrayEnumerate(sn)), toUInt8(0)))) s FROM {T} WHERE event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00' GROUP BY session_id HAVING count()>=3) ARRAY JOIN arrayMap((a,b,c)->toUInt32(bitAnd(a,255)*65536+bitAnd(b,255)*256+bitAnd(c,255)), arraySlice(s,1,length(s)-2), arraySlice(s,2,length(s)-2), arraySlice(s,3)) AS z GROUP BY z) GROUP BY p ORDER BY n DESC, p LIMIT 20
-- duckdb names; loose
WITH e AS (SELECT event_name a, lead(event_name,1) OVER w b, lead(event_name,2) OVER w c FROM {T} WHERE event_time>='2024-07-31' AND event_time<'2024-08-30' WINDOW w AS (PARTITION BY session_id ORDER BY event_time, event_name))
SELECT a||'>'||b||'>'||c p, count(*) n FROM e WHERE c IS NOT NULL GROUP BY a,b,c ORDER BY n DESC, p LIMIT 20
-- duckdb ids; check
WITH e AS (SELECT event_name a, lead(event_name,1) OVER w b, lead(event_name,2) OVER w c FROM {T} WHERE event_time>='2024-07-31' AND event_time<'2024-08-30' WINDOW w AS (PARTITION BY session_id ORDER BY event_time, event_id))
SELECT a||'>'||b||'>'||c p, count(*) n FROM e WHERE c IS NOT NULL GROUP BY a,b,c ORDER BY n DESC, p LIMIT 20

-- question Q13: commonest error codes of a feature
-- trackway trend count(any) where feature = "ai_chat" and error_code is set by error_code top 10
-- answer table 1
-- touches feature of true; error_code of feature='ai_chat'
-- clickhouse
SELECT error_code, count() n FROM {T} WHERE feature='ai_chat' AND error_code!='' GROUP BY error_code ORDER BY n DESC, error_code LIMIT 10
-- duckdb
SELECT error_code, count(*) n FROM {T} WHERE feature='ai_chat' AND error_code<>'' GROUP BY error_code ORDER BY n DESC, error_code LIMIT 10

-- question Q14: the last 500 events of one user
-- trackway events any where user_id = "u_{USER}" columns (event_time, event_name, page, session_id) order by event_time desc limit 500
-- answer table 0
-- touches event_time, event_name, page, session_id of uid={USER}
-- note Rows are compared as a set.
-- clickhouse number
SELECT event_time, event_name, page, session_id FROM {T} WHERE uid={USER} ORDER BY event_time DESC, event_id LIMIT 500
-- clickhouse text
SELECT event_time, event_name, page, session_id FROM {T} WHERE user_id='u_{USER}' ORDER BY event_time DESC, event_id LIMIT 500
-- duckdb number
SELECT event_time, event_name, page, session_id FROM {T} WHERE uid={USER} ORDER BY event_time DESC, event_id LIMIT 500
-- duckdb text
SELECT event_time, event_name, page, session_id FROM {T} WHERE user_id='u_{USER}' ORDER BY event_time DESC, event_id LIMIT 500

-- question Q15: attribution to first and last session's channel, 30 days back
-- trackway attribution of pay_success by channel model first_touch touches session_start keep repeats lookback 30d value sum(amount of pay_success) from 2024-07-31 to 2024-08-30
-- trackway attribution of pay_success by channel model last_touch touches session_start keep repeats lookback 30d value sum(amount of pay_success) from 2024-07-31 to 2024-08-30
-- answer attribution
-- touches event_name of event_time>='2024-07-01'; event_time, subject of event_time>='2024-07-01' AND event_name IN ('session_start','pay_success'); channel of event_time>='2024-07-01' AND event_name='session_start'; amount of event_time>='2024-07-31' AND event_name='pay_success'
-- note One question of a peer is two of ours, first and last touch; the times are added.
-- clickhouse
SELECT toString(ch) ch, sum(f), sum(fa), sum(l), sum(la) FROM (
 SELECT if(ft.st<=ct, ft.channel, '') ch, count() f, sum(amount) fa, 0 l, toDecimal64(0,2) la FROM (SELECT uid, event_time ct, amount, event_time - INTERVAL 30 DAY lo FROM {T} WHERE event_name='pay_success' AND event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00') p ASOF LEFT JOIN (SELECT uid, event_time st, channel FROM {T} WHERE event_name='session_start' AND event_time>='2024-07-01 00:00:00') ft ON p.uid=ft.uid AND p.lo<=ft.st GROUP BY ch
 UNION ALL
 SELECT if(lt.st>=lo, lt.channel, '') ch, 0 f, toDecimal64(0,2) fa, count() l, sum(amount) la FROM (SELECT uid, event_time ct, amount, event_time - INTERVAL 30 DAY lo FROM {T} WHERE event_name='pay_success' AND event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00') p ASOF LEFT JOIN (SELECT uid, event_time st, channel FROM {T} WHERE event_name='session_start' AND event_time>='2024-07-01 00:00:00') lt ON p.uid=lt.uid AND p.ct>=lt.st GROUP BY ch
) GROUP BY ch ORDER BY ch
-- duckdb
WITH p AS (SELECT uid u, event_time ct, amount, event_time - INTERVAL 30 DAY lo FROM {T} WHERE event_name='pay_success' AND event_time>='2024-07-31' AND event_time<'2024-08-30'),
 s AS (SELECT uid u, event_time st, channel FROM {T} WHERE event_name='session_start' AND event_time>='2024-07-01'),
 f AS (SELECT CASE WHEN s.st<=p.ct THEN s.channel ELSE '' END ch, amount FROM p ASOF LEFT JOIN s ON p.u=s.u AND p.lo<=s.st),
 l AS (SELECT CASE WHEN s.st>=p.lo THEN s.channel ELSE '' END ch, amount FROM p ASOF LEFT JOIN s ON p.u=s.u AND p.ct>=s.st)
SELECT ch, sum(f)::BIGINT, sum(fa), sum(l)::BIGINT, sum(la) FROM (SELECT ch, count(*) f, sum(amount) fa, 0 l, 0 la FROM f GROUP BY ch UNION ALL SELECT ch, 0, 0, count(*), sum(amount) FROM l GROUP BY ch) GROUP BY ch ORDER BY ch

-- question Q16: DAU and rolling 30-day MAU
-- trackway trend users(any) as dau, rolling 30d users(any) as mau each day from 2024-06-30 to 2024-08-30
-- answer table 1
-- touches sets any
-- clickhouse intervals
SELECT d, dau, mau FROM (SELECT d, sum(a) dau, sum(sum(x)) OVER (ORDER BY d ROWS UNBOUNDED PRECEDING) mau FROM (
 SELECT uid, arraySort(groupUniqArray(toInt32(toDate(event_time)))) ds, arrayJoin(arrayConcat(arrayMap(v->(v,1,0),ds), arrayMap((v,p)->(greatest(v,p+30),0,1), ds, arrayConcat([toInt32(0)],arrayPopBack(ds))), arrayMap(v->(v+30,0,-1), ds))) z, toDate(z.1) d, z.2 a, z.3 x FROM {T} GROUP BY uid)
 GROUP BY d) WHERE d>='2024-06-30' AND d<'2024-08-30' ORDER BY d
-- clickhouse bitmap
SELECT d, dau, mau FROM (SELECT d, finalizeAggregation(b) dau, groupBitmapMerge(b) OVER (ORDER BY d ROWS BETWEEN 29 PRECEDING AND CURRENT ROW) mau FROM (SELECT toDate(event_time) d, groupBitmapState(uid) b FROM {T} GROUP BY d)) WHERE d>='2024-06-30' ORDER BY d
-- duckdb
WITH ud AS (SELECT DISTINCT uid u, event_time::DATE d FROM {T}),
 g AS (SELECT d, lag(d) OVER (PARTITION BY u ORDER BY d) p FROM ud),
 x AS (SELECT d, 1 a, 0 x FROM ud UNION ALL SELECT greatest(d, coalesce(p+30, d)), 0, 1 FROM g UNION ALL SELECT d+30, 0, -1 FROM g),
 s AS (SELECT d, sum(a)::BIGINT dau, (sum(sum(x)) OVER (ORDER BY d ROWS UNBOUNDED PRECEDING))::BIGINT mau FROM x GROUP BY d)
SELECT d, dau, mau FROM s WHERE d>='2024-06-30' AND d<'2024-08-30' ORDER BY d

-- question D1: distinct users, 90 days
-- trackway distinct user of any
-- answer table 0
-- touches sets any
-- clickhouse
SELECT uniqExact(uid) FROM {T}
-- clickhouse bitmap
SELECT groupBitmap(uid) FROM {T}
-- duckdb
SELECT count(DISTINCT uid) FROM {T}

-- question D2: distinct users, a month (MAU)
-- trackway distinct user of any from 2024-07-31 to 2024-08-30
-- answer table 0
-- touches sets any from 2024-07-31 to 2024-08-30
-- clickhouse
SELECT uniqExact(uid) FROM {T} WHERE event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00'
-- clickhouse bitmap
SELECT groupBitmap(uid) FROM {T} WHERE event_time>='2024-07-31 00:00:00' AND event_time<'2024-08-30 00:00:00'
-- duckdb
SELECT count(DISTINCT uid) FROM {T} WHERE event_time>='2024-07-31' AND event_time<'2024-08-30'

-- question D3: rolling 7-day users (WAU)
-- trackway trend rolling 7d users(any) as wau each day from 2024-06-07 to 2024-08-30
-- answer table 1
-- touches sets any
-- clickhouse intervals
SELECT d, wau FROM (SELECT d, sum(sum(x)) OVER (ORDER BY d ROWS UNBOUNDED PRECEDING) wau FROM (
 SELECT uid, arraySort(groupUniqArray(toInt32(toDate(event_time)))) ds, arrayJoin(arrayConcat(arrayMap((v,p)->(greatest(v,p+7),1), ds, arrayConcat([toInt32(0)],arrayPopBack(ds))), arrayMap(v->(v+7,-1), ds))) z, toDate(z.1) d, z.2 x FROM {T} GROUP BY uid)
 GROUP BY d) WHERE d>='2024-06-07' AND d<'2024-08-30' ORDER BY d
-- clickhouse bitmap
SELECT d, wau FROM (SELECT d, groupBitmapMerge(b) OVER (ORDER BY d ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) wau FROM (SELECT toDate(event_time) d, groupBitmapState(uid) b FROM {T} GROUP BY d)) WHERE d>='2024-06-07' ORDER BY d
-- duckdb
WITH ud AS (SELECT DISTINCT uid u, event_time::DATE d FROM {T}),
 g AS (SELECT d, lag(d) OVER (PARTITION BY u ORDER BY d) p FROM ud),
 x AS (SELECT greatest(d, coalesce(p+7, d)) d, 1 x FROM g UNION ALL SELECT d+7, -1 FROM g),
 s AS (SELECT d, (sum(sum(x)) OVER (ORDER BY d ROWS UNBOUNDED PRECEDING))::BIGINT wau FROM x GROUP BY d)
SELECT d, wau FROM s WHERE d>='2024-06-07' AND d<'2024-08-30' ORDER BY d

-- question D4: distinct users per week, Shanghai time, weeks from Sunday
-- trackway distinct user of any each week tz "Asia/Shanghai" week starts sunday
-- answer table 1
-- touches sets any
-- clickhouse
SELECT toStartOfWeek(toDate(event_time,'Asia/Shanghai'),0) w, uniqExact(uid) FROM {T} GROUP BY w ORDER BY w
-- clickhouse bitmap
SELECT toStartOfWeek(toDate(event_time,'Asia/Shanghai'),0) w, groupBitmap(uid) FROM {T} GROUP BY w ORDER BY w
-- duckdb
SELECT (date_trunc('week', event_time + INTERVAL 8 HOUR + INTERVAL 1 DAY) - INTERVAL 1 DAY)::DATE w, count(DISTINCT uid) FROM {T} GROUP BY w ORDER BY w

-- question D5: distinct sessions per day (texts, as many as there are sessions)
-- trackway distinct session_id of any each day
-- answer table 1
-- touches event_time, session_id of true
-- clickhouse
SELECT toDate(event_time) d, uniqExact(session_id) FROM {T} GROUP BY d ORDER BY d
-- clickhouse distinct pairs
SELECT d, count() FROM (SELECT DISTINCT session_id, toDate(event_time) d FROM {T}) GROUP BY d ORDER BY d
-- duckdb
SELECT event_time::DATE d, count(DISTINCT session_id) FROM {T} GROUP BY d ORDER BY d
-- duckdb distinct pairs
SELECT d, count(*) FROM (SELECT DISTINCT session_id, event_time::DATE d FROM {T}) GROUP BY d ORDER BY d

-- question R1: weekly retention, register then any event, weeks 0 to 12
-- trackway retention register -> any each week for 12
-- answer retention size
-- touches sets any; event_name of true; event_time, subject of event_name='register'
-- clickhouse
SELECT c, intDiv(dateDiff('day',c,w),7) n, count() FROM (SELECT uid, toMonday(min(event_time)) c FROM {T} WHERE event_name='register' GROUP BY uid) r INNER JOIN (SELECT DISTINCT uid, toMonday(event_time) w FROM {T}) e USING (uid) WHERE n BETWEEN 0 AND 12 GROUP BY c,n ORDER BY c,n
-- clickhouse bits
SELECT addDays(toDate('2024-05-27'),7*c0) c, n, count() FROM (SELECT uid, minIf(intDiv(toDate(event_time)-toDate('2024-05-27'),7), event_name='register') c0, countIf(event_name='register') k, groupBitOr(bitShiftLeft(toUInt16(1), toUInt8(intDiv(toDate(event_time)-toDate('2024-05-27'),7)))) m FROM {T} GROUP BY uid HAVING k>0) ARRAY JOIN range(13) AS n WHERE bitAnd(bitShiftRight(toUInt32(m), toUInt8(c0+n)), 1)=1 GROUP BY c,n ORDER BY c,n
-- duckdb
SELECT c, (w-c)//7 n, count(*) FROM (SELECT uid u, date_trunc('week',min(event_time))::DATE c FROM {T} WHERE event_name='register' GROUP BY u) r JOIN (SELECT DISTINCT uid u, date_trunc('week',event_time)::DATE w FROM {T}) e USING (u) WHERE (w-c)//7 BETWEEN 0 AND 12 GROUP BY c,n ORDER BY c,n

-- question R2: retention of one platform's events, days 0 to 30
-- trackway retention register -> any each day for 30 where platform = "ios" from 2024-06-01 to 2024-07-31
-- answer retention size
-- touches platform, event_time, subject of true
-- clickhouse
SELECT c, dateDiff('day',c,d) n, count() FROM (SELECT uid, min(toDate(event_time)) c FROM {T} WHERE event_name='register' AND platform='ios' GROUP BY uid HAVING c<'2024-07-31') r INNER JOIN (SELECT DISTINCT uid, toDate(event_time) d FROM {T} WHERE platform='ios') e USING (uid) WHERE n BETWEEN 0 AND 30 GROUP BY c,n ORDER BY c,n
-- clickhouse bits
SELECT addDays(toDate('2024-06-01'),c0) c, n, count() FROM (SELECT uid, minIf(toUInt8(toDate(event_time)-toDate('2024-06-01')), event_name='register') c0, countIf(event_name='register') k, groupBitOr(bitShiftLeft(toUInt128(1), toUInt8(toDate(event_time)-toDate('2024-06-01')))) m FROM {T} WHERE platform='ios' GROUP BY uid HAVING k>0 AND c0<60) ARRAY JOIN range(31) AS n WHERE bitAnd(bitShiftRight(m, toUInt8(c0+n)), toUInt128(1))=1 GROUP BY c,n ORDER BY c,n
-- duckdb
SELECT c, d-c n, count(*) FROM (SELECT uid u, min(event_time)::DATE c FROM {T} WHERE event_name='register' AND platform='ios' GROUP BY u HAVING c<'2024-07-31'::DATE) r JOIN (SELECT DISTINCT uid u, event_time::DATE d FROM {T} WHERE platform='ios') e USING (u) WHERE d-c BETWEEN 0 AND 30 GROUP BY c,n ORDER BY c,n

-- question S1: stickiness, active days in each month
-- trackway stickiness of any each day over month from 2024-06-01 to 2024-09-01
-- answer table 2
-- touches sets any
-- clickhouse pairs
SELECT mo, k, count() FROM (SELECT mo, uid, count() k FROM (SELECT DISTINCT uid, toDate(event_time) d, toStartOfMonth(d) mo FROM {T}) GROUP BY mo, uid) GROUP BY mo, k ORDER BY mo, k
-- clickhouse bits
SELECT mo, bitCount(m) k, count() FROM (SELECT uid, toStartOfMonth(event_time) mo, groupBitOr(bitShiftLeft(toUInt32(1), toDayOfMonth(event_time))) m FROM {T} GROUP BY uid, mo) GROUP BY mo, k ORDER BY mo, k
-- duckdb
SELECT mo, k, count(*) FROM (SELECT date_trunc('month', d)::DATE mo, u, count(*) k FROM (SELECT DISTINCT uid u, event_time::DATE d FROM {T}) GROUP BY ALL) GROUP BY mo, k ORDER BY mo, k
-- duckdb bits
SELECT mo, bit_count(m) k, count(*) FROM (SELECT uid u, date_trunc('month', event_time)::DATE mo, bit_or(1::UINTEGER << dayofmonth(event_time)::INT) m FROM {T} GROUP BY ALL) GROUP BY mo, k ORDER BY mo, k

-- question S2: lifecycle per week
-- trackway lifecycle of any each week from 2024-06-03 to 2024-08-26
-- answer table 1
-- touches sets any
-- clickhouse bits
SELECT addDays(toDate('2024-05-27'),7*p) w, countIf(bitAnd(m,b)!=0 AND bitAnd(m,b-1)=0) new, countIf(bitAnd(m,b)!=0 AND bitAnd(m,q)!=0) ret, countIf(bitAnd(m,b)!=0 AND bitAnd(m,q)=0 AND bitAnd(m,b-1)!=0) res, countIf(bitAnd(m,b)=0 AND bitAnd(m,q)!=0) dor FROM (SELECT uid, groupBitOr(bitShiftLeft(toUInt16(1), toUInt8(intDiv(toDate(event_time)-toDate('2024-05-27'),7)))) m FROM {T} GROUP BY uid) ARRAY JOIN range(1,13) AS p, arrayMap(x->toUInt16(bitShiftLeft(toUInt16(1),x)), range(1,13)) AS b, arrayMap(x->toUInt16(bitShiftLeft(toUInt16(1),x)), range(0,12)) AS q GROUP BY w ORDER BY w
-- duckdb bits
SELECT (DATE '2024-05-27' + 7*p::INT)::DATE w, count(*) FILTER (m>>p & 1 = 1 AND m & ((1<<p)-1) = 0), count(*) FILTER (m>>p & 1 = 1 AND m>>(p-1) & 1 = 1), count(*) FILTER (m>>p & 1 = 1 AND m>>(p-1) & 1 = 0 AND m & ((1<<p)-1) <> 0), count(*) FILTER (m>>p & 1 = 0 AND m>>(p-1) & 1 = 1) FROM (SELECT uid u, bit_or(1 << ((event_time::DATE - DATE '2024-05-27')//7)::INT) m FROM {T} GROUP BY u), (SELECT unnest(range(1,13))::INT p) GROUP BY w ORDER BY w

-- question F1: funnel of 3 steps within 7 days, 90 days
-- trackway funnel register -> place_order -> pay_success within 7d
-- answer funnel 0
-- touches event_name of true; event_time, subject of event_name IN ('register','place_order','pay_success')
-- clickhouse
SELECT level, count() FROM (SELECT uid, windowFunnel(604800000)(toUInt64(toUnixTimestamp64Milli(event_time)), event_name='register', event_name='place_order', event_name='pay_success') level FROM {T} WHERE event_name IN ('register','place_order','pay_success') GROUP BY uid) WHERE level>0 GROUP BY level ORDER BY level
-- duckdb
WITH e AS (SELECT uid u, epoch_ms(event_time) t, CASE event_name WHEN 'register' THEN 1 WHEN 'place_order' THEN 2 ELSE 3 END s FROM {T} WHERE event_name IN ('register','place_order','pay_success')),
 a AS (SELECT *, max(CASE WHEN s=1 THEN t END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f1 FROM e),
 b AS (SELECT *, max(CASE WHEN s=2 AND t-f1<=604800000 THEN f1 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f2 FROM a),
 l AS (SELECT u, max(CASE WHEN s=3 AND t-f2<=604800000 THEN 3 WHEN f2 IS NOT NULL THEN 2 WHEN f1 IS NOT NULL THEN 1 ELSE 0 END) lv FROM b GROUP BY u)
SELECT lv, count(*) FROM l WHERE lv>0 GROUP BY lv ORDER BY lv

-- question F2: funnel of 5 steps within 7 days, 90 days
-- trackway funnel session_start -> view_item -> add_to_cart -> place_order -> pay_success within 7d
-- answer funnel 0
-- touches event_name of true; event_time, subject of event_name IN ('session_start','view_item','add_to_cart','place_order','pay_success')
-- clickhouse
SELECT level, count() FROM (SELECT uid, windowFunnel(604800000)(toUInt64(toUnixTimestamp64Milli(event_time)), event_name='session_start', event_name='view_item', event_name='add_to_cart', event_name='place_order', event_name='pay_success') level FROM {T} WHERE event_name IN ('session_start','view_item','add_to_cart','place_order','pay_success') GROUP BY uid) WHERE level>0 GROUP BY level ORDER BY level
-- duckdb
WITH e AS (SELECT uid u, epoch_ms(event_time) t, CASE event_name WHEN 'session_start' THEN 1 WHEN 'view_item' THEN 2 WHEN 'add_to_cart' THEN 3 WHEN 'place_order' THEN 4 ELSE 5 END s FROM {T} WHERE event_name IN ('session_start','view_item','add_to_cart','place_order','pay_success')),
 a AS (SELECT *, max(CASE WHEN s=1 THEN t END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f1 FROM e),
 b AS (SELECT *, max(CASE WHEN s=2 AND t-f1<=604800000 THEN f1 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f2 FROM a),
 c AS (SELECT *, max(CASE WHEN s=3 AND t-f2<=604800000 THEN f2 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f3 FROM b),
 d AS (SELECT *, max(CASE WHEN s=4 AND t-f3<=604800000 THEN f3 END) OVER (PARTITION BY u ORDER BY t,s ROWS UNBOUNDED PRECEDING) f4 FROM c),
 l AS (SELECT u, max(CASE WHEN s=5 AND t-f4<=604800000 THEN 5 WHEN f4 IS NOT NULL THEN 4 WHEN f3 IS NOT NULL THEN 3 WHEN f2 IS NOT NULL THEN 2 WHEN f1 IS NOT NULL THEN 1 ELSE 0 END) lv FROM d GROUP BY u)
SELECT lv, count(*) FROM l WHERE lv>0 GROUP BY lv ORDER BY lv

-- question F3: funnel of 3 steps within 1 day by channel, 90 days
-- trackway funnel session_start -> view_item -> add_to_cart within 1d by channel
-- answer funnel 1
-- touches event_name of true; event_time, subject of event_name IN ('session_start','view_item','add_to_cart'); channel of event_name='session_start'
-- note As Q6: DuckDB's SQL has our breakdown, windowFunnel is compared without it.
-- clickhouse coarse
SELECT toString(ch), level, count() FROM (SELECT uid, windowFunnel(86400000)(toUInt64(toUnixTimestamp64Milli(event_time)), event_name='session_start', event_name='view_item', event_name='add_to_cart') level, argMinIf(channel, event_time, event_name='session_start') ch FROM {T} WHERE event_name IN ('session_start','view_item','add_to_cart') GROUP BY uid) WHERE level>0 GROUP BY ch, level ORDER BY 1,2
-- duckdb
WITH k AS (SELECT list(c) ks FROM (SELECT DISTINCT channel c FROM {T} WHERE event_name='session_start' ORDER BY c DESC)),
 e AS (SELECT uid u, epoch_ms(event_time) m, m*32 + CASE WHEN event_name='session_start' THEN list_position(ks, channel) ELSE 0 END t, CASE event_name WHEN 'session_start' THEN 1 WHEN 'view_item' THEN 2 ELSE 3 END s FROM {T}, k WHERE event_name IN ('session_start','view_item','add_to_cart')),
 a AS (SELECT *, max(CASE WHEN s=1 THEN t END) OVER w f1 FROM e WINDOW w AS (PARTITION BY u ORDER BY m,s ROWS UNBOUNDED PRECEDING)),
 b AS (SELECT *, max(CASE WHEN s=2 AND m-f1//32<=86400000 THEN f1 END) OVER w f2 FROM a WINDOW w AS (PARTITION BY u ORDER BY m,s ROWS UNBOUNDED PRECEDING)),
 r AS (SELECT u, m, CASE WHEN s=1 THEN 1 WHEN s=2 AND m-f1//32<=86400000 THEN 2 WHEN s=3 AND m-f2//32<=86400000 THEN 3 ELSE 0 END lv, CASE s WHEN 1 THEN t WHEN 2 THEN f1 ELSE f2 END st FROM b),
 l AS (SELECT u, max(lv) lv, arg_max(st, (lv, -m, st)) st FROM r WHERE lv>0 GROUP BY u)
SELECT ks[st%32] ch, lv, count(*) FROM l, k GROUP BY ALL ORDER BY 1,2

-- question G1: most active sessions (as many groups as there are sessions)
-- trackway trend count(any) by session_id top 10
-- answer table 1
-- touches session_id of true
-- clickhouse
SELECT session_id, count() n FROM {T} GROUP BY session_id ORDER BY n DESC, session_id LIMIT 10
-- duckdb
SELECT session_id, count(*) n FROM {T} GROUP BY session_id ORDER BY n DESC, session_id LIMIT 10

-- question G2: the 20 users who paid most
-- trackway trend sum(amount of pay_success) as revenue by user_id top 20
-- answer table 1
-- touches event_name of true; subject, amount of event_name='pay_success'
-- clickhouse number
SELECT concat('u_',toString(uid)) u, sum(amount) s FROM {T} WHERE event_name='pay_success' GROUP BY uid ORDER BY s DESC, u LIMIT 20
-- clickhouse text
SELECT user_id u, sum(amount) s FROM {T} WHERE event_name='pay_success' GROUP BY u ORDER BY s DESC, u LIMIT 20
-- duckdb
SELECT 'u_'||uid u, sum(amount) s FROM {T} WHERE event_name='pay_success' GROUP BY uid ORDER BY s DESC, u LIMIT 20

-- question G3: p99 of latency per endpoint
-- trackway trend count(perf_api), p99(latency_ms of perf_api) by page
-- answer table 1
-- touches event_name of true; page, latency_ms of event_name='perf_api'
-- clickhouse
SELECT page, count(), quantileExactInclusive(0.99)(latency_ms) FROM {T} WHERE event_name='perf_api' GROUP BY page ORDER BY page
-- duckdb
SELECT page, count(*), quantile_cont(latency_ms,0.99) FROM {T} WHERE event_name='perf_api' GROUP BY page ORDER BY page

-- question G4: views and people of the ten most viewed pages
-- trackway trend count(page_view) as views, users(page_view) as people by page top 10
-- answer table 1
-- touches event_name of true; page, subject of event_name='page_view'
-- clickhouse
SELECT page, count() n, uniqExact(uid) FROM {T} WHERE event_name='page_view' GROUP BY page ORDER BY n DESC, page LIMIT 10
-- clickhouse bitmap
SELECT page, count() n, groupBitmap(uid) FROM {T} WHERE event_name='page_view' GROUP BY page ORDER BY n DESC, page LIMIT 10
-- clickhouse two steps
SELECT page, n, p FROM (SELECT page, count() n FROM {T} WHERE event_name='page_view' GROUP BY page ORDER BY n DESC, page LIMIT 10) a INNER JOIN (SELECT page, groupBitmap(uid) p FROM {T} WHERE event_name='page_view' AND page IN (SELECT page FROM {T} WHERE event_name='page_view' GROUP BY page ORDER BY count() DESC, page LIMIT 10) GROUP BY page) b USING (page) ORDER BY n DESC, page
-- duckdb
SELECT page, count(*) n, count(DISTINCT uid) FROM {T} WHERE event_name='page_view' GROUP BY page ORDER BY n DESC, page LIMIT 10
-- duckdb two steps
WITH t AS (SELECT page, count(*) n FROM {T} WHERE event_name='page_view' GROUP BY page ORDER BY n DESC, page LIMIT 10)
SELECT page, any_value(n) n, count(DISTINCT uid) FROM {T} JOIN t USING (page) WHERE event_name='page_view' GROUP BY page ORDER BY n DESC, page

-- question G5: events and people per day and platform
-- trackway trend count(any) as events, users(any) as people each day by platform
-- answer table 2
-- touches event_time, platform, subject of true
-- clickhouse
SELECT toDate(event_time) d, platform, count(), uniqExact(uid) FROM {T} GROUP BY d, platform ORDER BY d, platform
-- clickhouse bitmap
SELECT toDate(event_time) d, platform, count(), groupBitmap(uid) FROM {T} GROUP BY d, platform ORDER BY d, platform
-- clickhouse two steps
SELECT d, platform, sum(n), count() FROM (SELECT toDate(event_time) d, platform, uid, count() n FROM {T} GROUP BY d, platform, uid) GROUP BY d, platform ORDER BY d, platform
-- duckdb
SELECT event_time::DATE d, platform, count(*), count(DISTINCT uid) FROM {T} GROUP BY d, platform ORDER BY d, platform
-- duckdb two steps
SELECT d, platform, sum(n)::BIGINT, count(*) FROM (SELECT event_time::DATE d, platform, uid, count(*) n FROM {T} GROUP BY ALL) GROUP BY d, platform ORDER BY d, platform

-- question G6: events by platform and network
-- trackway trend count(any) by platform, network
-- answer table 2
-- touches platform, network of true
-- clickhouse
SELECT platform, network, count() FROM {T} GROUP BY platform, network ORDER BY platform, network
-- duckdb
SELECT platform, network, count(*) FROM {T} GROUP BY platform, network ORDER BY platform, network

-- question J1: sessions per day and how long they last (30 minutes apart)
-- trackway sessions count, avg_duration_ms each day idle 30m
-- answer table 1
-- touches event_time, subject of true
-- clickhouse
SELECT toDate(fromUnixTimestamp64Milli(x[1],'UTC')) d, count(), avg(x[-1]-x[1]) FROM (SELECT arraySort(groupArray(toUnixTimestamp64Milli(event_time))) s FROM {T} GROUP BY uid) ARRAY JOIN arraySplit((v,g)->g>1800000, s, arrayDifference(s)) AS x GROUP BY d ORDER BY d
-- clickhouse windows
SELECT toDate(a) d, count(), avg(l) FROM (SELECT uid, n, min(event_time) a, toUnixTimestamp64Milli(max(event_time))-toUnixTimestamp64Milli(min(event_time)) l FROM (SELECT uid, event_time, sum(g) OVER (PARTITION BY uid ORDER BY event_time ROWS UNBOUNDED PRECEDING) n FROM (SELECT uid, event_time, event_time - lagInFrame(event_time, 1, toDateTime64(0,3,'UTC')) OVER (PARTITION BY uid ORDER BY event_time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) > 1800 g FROM {T})) GROUP BY uid, n) GROUP BY d ORDER BY d
-- duckdb
WITH g AS (SELECT uid u, epoch_ms(event_time) t, t - lag(t, 1, 0) OVER (PARTITION BY uid ORDER BY event_time) > 1800000 f FROM {T}),
 n AS (SELECT u, t, sum(f::INT) OVER (PARTITION BY u ORDER BY t ROWS UNBOUNDED PRECEDING) k FROM g),
 x AS (SELECT min(t) a, max(t)-min(t) l FROM n GROUP BY u, k)
SELECT epoch_ms(a)::DATE d, count(*), avg(l) FROM x GROUP BY d ORDER BY d
