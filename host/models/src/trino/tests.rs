//! The client against answers as Trino gives them, and as proxies and broken servers do.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use lakehost_pipeline::{Diagnostic as _, Secret};
use lakehost_server::{Answer, RequestLog, Service};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use url::Url;

use super::*;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn client(service: &Service, change: impl FnOnce(&mut Options)) -> Trino {
    let mut options = Options::new(Url::parse(&service.url()).unwrap(), "ann");
    options.patience = Duration::from_millis(700);
    options.timeout = Duration::from_secs(5);
    change(&mut options);
    Trino::new(options, Ok).unwrap()
}

fn json_answer(value: &Value) -> Answer {
    Answer::with(200, "application/json", value.to_string())
}

/// A page of query `q1` on the server that was asked, with the next one at `next`.
fn page(request: &RequestLog, next: Option<&str>, mut more: Value) -> Answer {
    more["id"] = json!("q1");
    more["stats"] = json!({ "state": "RUNNING", "progressPercentage": 50.0, "processedRows": 7 });
    if let Some(next) = next {
        more["nextUri"] = json!(format!("http://{}{next}", request.header("host").unwrap_or_default()));
    }
    json_answer(&more)
}

fn number_column() -> Value {
    json!([{ "name": "n", "type": "bigint", "typeSignature": { "rawType": "bigint", "arguments": [] } }])
}

fn numbers(trino: &Trino, sql: &str) -> Result<Vec<i64>> {
    let batches = runtime().block_on(trino.rows(&Statement::new(sql)))?;
    Ok(batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
}

/// Answers `select` in three pages. `trouble` may answer the nth request of a path instead.
fn three_pages(trouble: impl Fn(&RequestLog, usize) -> Option<Answer> + Send + Sync + 'static) -> Service {
    let seen = Mutex::new(Vec::<String>::new());
    Service::start(move |request| {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.path.clone());
            seen.iter().filter(|path| **path == request.path).count()
        };
        if let Some(answer) = trouble(request, number) {
            return answer;
        }
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/statement") => page(request, Some("/v1/statement/queued/q1/1"), json!({})),
            ("GET", "/v1/statement/queued/q1/1") => page(
                request,
                Some("/v1/statement/executing/q1/2"),
                json!({ "columns": number_column(), "data": [[1], [2]] }),
            ),
            ("GET", "/v1/statement/executing/q1/2") => {
                page(request, None, json!({ "columns": number_column(), "data": [[3]] }))
            }
            ("DELETE", _) => Answer::status(204),
            _ => Answer::status(404),
        }
    })
    .unwrap()
}

fn methods(service: &Service) -> Vec<String> {
    service.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

#[test]
fn pages_come_one_after_another_with_all_that_trino_wants_to_know() {
    let service = three_pages(|_, _| None);
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    let trino = client(&service, |options| {
        options.catalog = Some("lake".to_owned());
        options.schema = Some("raw".to_owned());
        options.auth = Auth::Password(Secret::new("hunter2"));
        options.watch = Some(Arc::new(move |progress: &Progress| {
            assert_eq!((progress.query_id.as_str(), progress.percent, progress.rows), ("q1", Some(50.0), 7));
            counted.fetch_add(1, Ordering::Relaxed);
        }));
    });
    let statement = Statement::new("select n from t;").with("lake.a", "5 d");
    let batches = runtime().block_on(trino.rows(&statement)).unwrap();
    assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(steps.load(Ordering::Relaxed), 3);
    let posted = &service.requests()[0];
    assert_eq!(posted.body, b"select n from t");
    for (name, value) in [
        ("x-trino-user", "ann"),
        ("x-trino-catalog", "lake"),
        ("x-trino-schema", "raw"),
        ("x-trino-source", "lakehost"),
        ("x-trino-session", "lake.a=5+d"),
        ("x-trino-time-zone", "UTC"),
        ("authorization", "Basic YW5uOmh1bnRlcjI="),
    ] {
        assert_eq!(posted.header(name), Some(value), "{name}");
    }
    assert!(!format!("{trino:?}").contains("hunter2"));
}

#[test]
fn what_can_be_asked_again_is_asked_again() {
    let service = three_pages(|request, number| match (request.method.as_str(), request.path.as_str(), number) {
        ("POST", _, 1) => Some(Answer::hangup()),
        ("POST", _, 2) => Some(Answer::status(503)),
        ("GET", "/v1/statement/queued/q1/1", 1) => Some(Answer::status(502)),
        ("GET", "/v1/statement/queued/q1/1", 2) => {
            let whole = page(request, None, json!({ "columns": number_column(), "data": [[9]] }));
            Some(Answer { cut_after: Some(20), ..whole })
        }
        ("GET", "/v1/statement/executing/q1/2", 1) => Some(Answer::status(504)),
        _ => None,
    });
    assert_eq!(numbers(&client(&service, |_| ()), "select n from t").unwrap(), [1, 2, 3]);
}

#[test]
fn a_server_that_stays_away_is_an_error_that_says_so() {
    let service = three_pages(|request, _| (request.method == "GET").then(|| Answer::status(503)));
    let error = numbers(&client(&service, |_| ()), "select n from t").unwrap_err();
    assert_eq!(error.code().0, "LH0722");
    assert_eq!(error.cause().as_deref(), Some("HTTP 503"));
    let gone = client(&service, |_| ());
    drop(service);
    let error = numbers(&gone, "select 1").unwrap_err();
    assert!(error.code().0 == "LH0722" && error.cause().unwrap().contains("refused"), "{error:?}");
}

#[test]
fn strangers_and_refusals_are_told_apart() {
    for (answer, code, said) in [
        (Answer::with(200, "text/html", "<html>login</html>"), "LH0722", "an HTML page"),
        (Answer::with(200, "application/json", "[]"), "LH0722", "HTTP 200: []"),
        (Answer::status(500), "LH0722", "HTTP 500"),
        (Answer::status(401), "LH0723", "HTTP 401"),
        (Answer::with(403, "text/plain", "Basic authentication required"), "LH0723", "HTTP 403: Basic"),
        (
            Answer { headers: vec![("Location".into(), "https://x/".into())], ..Answer::status(307) },
            "LH0722",
            "leads to https://x/",
        ),
        (Answer::status(404), "LH0722", "HTTP 404"),
    ] {
        let service = Service::start(move |_| answer.clone()).unwrap();
        let error = numbers(&client(&service, |_| ()), "select 1").unwrap_err();
        assert_eq!(error.code().0, code, "{error}");
        assert!(error.cause().unwrap().contains(said), "{:?}", error.cause());
        assert_eq!(service.requests().len(), 1, "asked once: {said}");
    }
    let service = Service::start(|_| Answer::with(200, "application/json", "x".repeat(2_000))).unwrap();
    let error = numbers(&client(&service, |options| options.page_bytes = 1_000), "select 1").unwrap_err();
    assert_eq!(error.code().0, "LH1002");
}

#[test]
fn a_token_is_a_bearer() {
    let service = three_pages(|_, _| None);
    let trino = client(&service, |options| {
        options.user = String::new();
        options.auth = Auth::Token(Secret::new("a.b.c"));
    });
    assert_eq!(numbers(&trino, "select n from t").unwrap(), [1, 2, 3]);
    for request in service.requests() {
        assert_eq!((request.header("authorization"), request.header("x-trino-user")), (Some("Bearer a.b.c"), None));
    }
    let restarted = three_pages(|request, _| (request.method == "GET").then(|| Answer::status(404)));
    let error = numbers(&client(&restarted, |_| ()), "select n from t").unwrap_err();
    assert!(error.code().0 == "LH0722" && error.cause().unwrap().contains("as after a restart"), "{error:?}");
}

#[test]
fn the_password_follows_no_answer_to_another_server() {
    let service =
        Service::start(|_| json_answer(&json!({ "id": "q1", "nextUri": "http://evil.example.com/v1/x" }))).unwrap();
    let error = numbers(&client(&service, |_| ()), "select 1").unwrap_err();
    assert!(error.cause().unwrap().contains("another server"), "{error:?}");
    assert!(error.hint().unwrap().contains("process-forwarded"));
}

#[test]
fn trinos_own_words_come_through() {
    let service = Service::start(|request| {
        let error = json!({ "message": "line 1:8: Column 'x' cannot be resolved", "errorName": "COLUMN_NOT_FOUND", "errorType": "USER_ERROR" });
        page(request, None, json!({ "error": error }))
    })
    .unwrap();
    let error = numbers(&client(&service, |_| ()), "select x").unwrap_err();
    assert_eq!(error.to_string(), "Trino ended the statement with COLUMN_NOT_FOUND");
    assert_eq!((error.code().0, error.code().exit()), ("LH0721", 8));
    assert_eq!(error.cause().as_deref(), Some("line 1:8: Column 'x' cannot be resolved"));
}

/// A write whose connection is lost at some point, and a list of queries that says what became of it.
fn losing(lost: impl Fn(&RequestLog) -> Option<Answer> + Send + Sync + 'static, listed: Value) -> Service {
    Service::start(move |request| {
        let asks = String::from_utf8_lossy(&request.body).contains("system.runtime.queries");
        if asks {
            let text =
                |name: &str| json!({ "name": name, "type": "varchar", "typeSignature": { "rawType": "varchar" } });
            let columns = json!([text("query_id"), text("state"), text("error_code"), text("error_type")]);
            return page(request, None, json!({ "columns": columns, "data": listed }));
        }
        if let Some(answer) = lost(request) {
            return answer;
        }
        match request.method.as_str() {
            "POST" => page(request, Some("/next"), json!({})),
            _ => page(request, None, json!({ "updateType": "INSERT", "updateCount": 3 })),
        }
    })
    .unwrap()
}

fn write(trino: &Trino) -> Result<Written> {
    runtime().block_on(trino.write(&Statement::new("insert into t select 1")))
}

fn posts(service: &Service) -> usize {
    service.requests().iter().filter(|request| request.body.starts_with(b"insert")).count()
}

#[test]
fn a_write_is_sent_once_whatever_happens() {
    let whole = losing(|_| None, json!([]));
    let written = write(&client(&whole, |_| ())).unwrap();
    assert_eq!((written.rows, written.kind.as_deref(), written.found_later), (Some(3), Some("INSERT"), false));
    let mark = whole.requests()[0].header("x-trino-source").unwrap().to_owned();
    assert!(mark.starts_with("lakehost-"), "{mark}");

    let troubles: [fn(&RequestLog) -> Option<Answer>; 6] = [
        |request| (request.method == "POST").then(Answer::hangup),
        |request| (request.method == "POST").then(|| Answer::status(503)),
        |request| (request.method == "POST").then(|| Answer::with(200, "text/html", "<html>")),
        |request| (request.method == "POST").then(|| Answer::status(500)),
        |request| (request.method == "GET").then(|| Answer::status(502)),
        |request| (request.method == "GET").then(|| Answer::status(404)),
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let landed = losing(trouble, json!([["q9", "FINISHED", null, null]]));
        let written = write(&client(&landed, |_| ())).unwrap();
        assert!(written.found_later && written.query_id == "q9", "{number}");
        assert_eq!(posts(&landed), 1, "{number}");

        let failed = losing(trouble, json!([["q9", "FAILED", "TABLE_NOT_FOUND", "USER_ERROR"]]));
        let error = write(&client(&failed, |_| ())).unwrap_err();
        assert!(error.code().0 == "LH0721" && error.to_string().contains("TABLE_NOT_FOUND"), "{number}: {error}");

        let forgotten = losing(trouble, json!([]));
        let error = write(&client(&forgotten, |_| ())).unwrap_err();
        assert_eq!((error.code().0, error.code().exit()), ("LH0724", 8), "{number}: {error}");
        let (cause, hint) = (error.cause().unwrap(), error.hint().unwrap());
        assert!(cause.contains("does not have it") && hint.contains("where source = 'lakehost-"), "{cause} {hint}");
        assert_eq!(posts(&forgotten), 1, "{number}");
    }
}

#[test]
fn a_write_that_was_refused_is_known_not_to_have_happened() {
    for (status, code) in [(401, "LH0723"), (400, "LH0722"), (404, "LH0722")] {
        let service = losing(move |_| Some(Answer::status(status)), json!([]));
        let error = write(&client(&service, |_| ())).unwrap_err();
        assert_eq!((error.code().0, posts(&service)), (code, 1), "{status}");
    }
    // Too many requests says so too, and is worth another try.
    let seen = AtomicUsize::new(0);
    let busy = losing(move |_| (seen.fetch_add(1, Ordering::Relaxed) == 0).then(|| Answer::status(429)), json!([]));
    assert_eq!(write(&client(&busy, |_| ())).unwrap().rows, Some(3));
    let gone = client(&busy, |_| ());
    drop(busy);
    assert_eq!(write(&gone).unwrap_err().code().0, "LH0722", "a connection that was never made sent nothing");
}

#[test]
fn an_interrupted_query_is_ended_on_the_server() {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let service = three_pages(move |request, _| {
        let asked = request.path.contains("/executing/") && request.method == "GET";
        asked.then(|| {
            raised.store(true, Ordering::Relaxed);
            Answer { after: Duration::from_secs(30), ..Answer::status(503) }
        })
    });
    let trino = client(&service, |options| {
        options.stop = Some(stop);
        options.timeout = Duration::from_secs(60);
    });
    let error = numbers(&trino, "select n from t").unwrap_err();
    assert_eq!(error.code().0, "LH1099");
    assert_eq!(error.to_string(), "interrupted; the query was ended on the server too");
    assert!(methods(&service).contains(&"DELETE /v1/statement/executing/q1/2".to_owned()), "{:?}", methods(&service));
}

#[test]
fn an_interrupted_write_is_looked_up() {
    // What is cancelled may have been committed before.
    let cancelled = json!(["q1", "FAILED", "USER_CANCELED", "USER_ERROR"]);
    let abandoned = json!(["q1", "FAILED", "ABANDONED_QUERY", "INTERNAL_ERROR"]);
    let refused = json!(["q1", "FAILED", "SYNTAX_ERROR", "USER_ERROR"]);
    for (listed, code) in [
        (cancelled, Some("LH0724")),
        (abandoned, Some("LH0724")),
        (refused, Some("LH0721")),
        (json!(["q1", "FINISHED", null, null]), None),
        (json!(["q1", "RUNNING", null, null]), Some("LH0724")),
    ] {
        let said = listed.to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let raised = Arc::clone(&stop);
        let service = losing(
            move |request| {
                (request.method == "GET").then(|| {
                    raised.store(true, Ordering::Relaxed);
                    Answer { after: Duration::from_secs(30), ..Answer::status(503) }
                })
            },
            json!([listed]),
        );
        let trino = client(&service, |options| {
            options.stop = Some(stop);
            options.timeout = Duration::from_secs(60);
        });
        assert_eq!(write(&trino).err().map(|error| error.code().0), code, "{said}");
        assert!(methods(&service).contains(&"DELETE /next".to_owned()));
    }
}

#[test]
fn a_write_goes_on_where_its_connection_broke() {
    // Trino runs a query until its answer is taken, so asking the list alone would wait in vain.
    for (error, code) in [(None, None), (Some("USER_ERROR"), Some("LH0721")), (Some("EXTERNAL"), Some("LH0724"))] {
        let listed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&listed);
        let service = losing(
            move |request| match (request.method.as_str(), seen.load(Ordering::Relaxed)) {
                ("GET", false) => Some(Answer::status(502)),
                ("GET", true) => {
                    let failed = error.map(|kind| json!({ "message": "m", "errorName": "X", "errorType": kind }));
                    Some(page(request, None, json!({ "error": failed })))
                }
                _ => None,
            },
            json!([["q1", "RUNNING", null, null]]),
        );
        let trino = client(&service, |options| options.watch = None);
        let watcher = Arc::clone(&listed);
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !service.requests().iter().any(|request| request.body.starts_with(b"SELECT query_id")) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                watcher.store(true, Ordering::Relaxed);
            });
            write(&trino)
        });
        assert_eq!(ended.as_ref().err().map(|error| error.code().0), code, "{error:?}");
        assert!(ended.is_err() || ended.is_ok_and(|written| written.found_later));
        assert_eq!(posts(&service), 1);
    }
}

#[test]
fn a_query_can_be_left_early() {
    let service = three_pages(|_, _| None);
    let trino = client(&service, |_| ());
    runtime().block_on(async {
        let mut query = trino.query(&Statement::new("select n from t")).await.unwrap();
        assert_eq!(query.next().await.unwrap().unwrap().num_rows(), 2);
        assert!(!query.has_ended() && query.cancel().await);
        assert!(query.next().await.unwrap().is_none());
    });
    assert_eq!(methods(&service).last().unwrap(), "DELETE /v1/statement/executing/q1/2");
}

/// Columns and a row as Trino 476 gave them.
#[test]
fn every_type_has_its_column() {
    let typed = |name: &str, raw: &str, arguments: Value| json!({ "name": name, "type": raw, "typeSignature": { "rawType": raw, "arguments": arguments } });
    let long = |value: u64| json!({ "kind": "LONG", "value": value });
    let inner = |raw: &str| json!({ "kind": "TYPE", "value": { "rawType": raw, "arguments": [] } });
    let named = |name: &str, raw: &str| json!({ "kind": "NAMED_TYPE", "value": { "fieldName": { "name": name }, "typeSignature": { "rawType": raw, "arguments": [] } } });
    let table = [
        (typed("decimal", "decimal", json!([long(5), long(2)])), json!("-1.50"), "-1.50"),
        (
            typed("timestamp", "timestamp", json!([long(6)])),
            json!("2024-01-31 18:30:00.123456"),
            "2024-01-31T18:30:00.123456",
        ),
        (
            typed("finest", "timestamp", json!([long(9)])),
            json!("2024-01-31 18:30:00.123456789"),
            "2024-01-31T18:30:00.123456789",
        ),
        (
            typed("too_fine", "timestamp", json!([long(12)])),
            json!("2024-01-31 18:30:00.123456789012"),
            "2024-01-31 18:30:00.123456789012",
        ),
        (
            typed("instant", "timestamp with time zone", json!([long(3)])),
            json!("2024-01-31 18:30:00.123 UTC"),
            "2024-01-31T18:30:00.123Z",
        ),
        (typed("array", "array", json!([inner("integer")])), json!([1, null, 2]), "[1, , 2]"),
        (typed("map", "map", json!([inner("varchar"), inner("double")])), json!({ "x": 1.5 }), "{x: 1.5}"),
        (typed("row", "row", json!([named("x", "bigint"), named("y", "varchar")])), json!([1, "b"]), "{x: 1, y: b}"),
        (typed("binary", "varbinary", json!([])), json!("AP8="), "00ff"),
        (typed("real", "real", json!([])), json!(1.1), "1.1"),
        (typed("no_number", "double", json!([])), json!("NaN"), "NaN"),
        (typed("date", "date", json!([])), json!("2024-01-01"), "2024-01-01"),
        (typed("time", "time", json!([long(3)])), json!("10:00:00.000"), "10:00:00"),
        (typed("uuid", "uuid", json!([])), json!("0d4b"), "0d4b"),
        (typed("json", "json", json!([])), json!("{\"a\":1}"), "{\"a\":1}"),
        (typed("tiny", "tinyint", json!([])), json!(-128), "-128"),
        (typed("yes", "boolean", json!([])), json!(true), "true"),
        (typed("none", "bigint", json!([])), json!(null), ""),
    ];
    let columns: Vec<Value> = table.iter().map(|(column, ..)| column.clone()).collect();
    let row: Vec<Value> = table.iter().map(|(_, value, _)| value.clone()).collect();
    let empty = vec![Value::Null; row.len()];
    let service =
        Service::start(move |request| page(request, None, json!({ "columns": columns, "data": [row, empty] })))
            .unwrap();
    let batches = runtime().block_on(client(&service, |_| ()).rows(&Statement::new("select 1"))).unwrap();
    let batch = &batches[0];
    for (index, (column, _, expected)) in table.iter().enumerate() {
        let shown = ArrayFormatter::try_new(batch.column(index), &FormatOptions::new()).unwrap();
        assert_eq!(shown.value(0).to_string(), *expected, "{}", column["name"]);
        assert!(batch.column(index).is_null(1), "{}", column["name"]);
    }
}

#[test]
fn a_value_that_does_not_fit_is_named() {
    let columns = json!([{ "name": "at", "type": "timestamp(3) with time zone",
        "typeSignature": { "rawType": "timestamp with time zone", "arguments": [{ "kind": "LONG", "value": 3 }] } }]);
    let service = Service::start(move |request| {
        let rows = json!({ "columns": columns, "data": [["2024-01-31 18:30:00.123 Europe/Paris"]] });
        let first = request.method == "POST";
        page(request, Some("/next"), if first { json!({}) } else { rows })
    })
    .unwrap();
    let error = numbers(&client(&service, |_| ()), "select 1").unwrap_err();
    assert!(error.to_string().contains("column at") && error.cause().unwrap().contains("Europe/Paris"), "{error}");
    assert!(error.hint().unwrap().contains("AT TIME ZONE 'UTC'"));
    assert_eq!(service.requests().last().unwrap().method, "DELETE", "nobody asks for the rest");
}
