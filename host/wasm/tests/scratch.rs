use std::sync::{Arc, atomic::AtomicBool};
use std::time::{Duration, Instant};
use lakehost_wasm::*;
use lakehost_pipeline::ports::{Cleaner, Source};
use lakehost_pipeline::{Window, Granularity, Diagnostic, Fault};
use lakehost_columnar::Rows;
use serde_json::json;
fn host(rt: &tokio::runtime::Runtime, dir: &std::path::Path) -> WasmHost {
    let budgets = Budgets { cpu_plan: Duration::from_millis(600), cpu_batch: Duration::from_millis(500), cpu_short: Duration::from_millis(500), ..Budgets::default() };
    WasmHost::new(HostOptions { cache_dir: dir.join("cache"), budgets, threads: 2, runtime: rt.handle().clone(), cancel: Arc::new(AtomicBool::new(false)) }).unwrap()
}
fn component(name: &str) -> std::path::PathBuf { format!("/var/cache/lakehost-target/wasm32-wasip2/release/{name}.wasm").into() }
fn options(dir: &std::path::Path) -> FetchOptions { FetchOptions { limits: Default::default(), spool_dir: dir.to_owned(), ledger: lakehost_fetch::Ledger::new() } }
fn show(f: &Fault) -> String { format!("{} {f} | cause {:?} | hint {:?}", f.code(), f.cause(), f.hint()) }
#[test]
fn sources() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let host = host(&rt, dir.path());
    let t = Instant::now();
    let plugin = host.load_file(&component("rogue_source")).unwrap();
    println!("cold load {:?}", t.elapsed());
    for _ in 0..3 { let t = Instant::now(); host.load_file(&component("rogue_source")).unwrap(); println!("warm load {:?}", t.elapsed()); }
    let t = Instant::now(); let h2 = self::host(&rt, dir.path()); println!("host {:?}", t.elapsed());
    let p2 = h2.load_file(&component("rogue_source")).unwrap(); println!("+load {:?}", t.elapsed()); p2.about().unwrap(); println!("+spec {:?}", t.elapsed());
    println!("{}", serde_json::to_string(&plugin.inspect().unwrap().to_json()).unwrap());
    let window = Window::parse(Granularity::Month, "2024-01").unwrap();
    for fault in ["good","no-splits","no-rows","error","hostile-error","endless-loop","loops-in-asks","sleep","trap","recursion","memory-bomb","log-flood","asks-ungranted-host","hides-ungranted-host","asks-metadata-host","hostile-names","forged-ipc","lz4-frames","forged-schema","huge-rows","wrong-schema","too-many-batches"] {
        let t = Instant::now();
        let config = json!({"fault": fault});
        let out = (|| -> Result<String, Fault> {
            host.asks(&plugin, &config)?;
            let mut source = host.source(&plugin, &config, &Grants::default(), options(dir.path()))?;
            let d = source.discover()?;
            let splits = source.plan(&d[0].name, Some(&window))?;
            let mut n = 0;
            let mut objects = vec![];
            for s in &splits {
                match source.open(s)? { Rows::Scan(_) => panic!(), Rows::Batches(mut b) => loop { match b.next() { Ok(Some(b)) => n += b.num_rows(), Ok(None) => break, Err(e) => return Err(*e.downcast::<Fault>().unwrap()) } } }
                objects.extend(source.objects(s)?);
            }
            Ok(format!("{n} rows {:?}", objects))
        })();
        println!("{fault}: {} [{:?}]", match out { Ok(s) => format!("ok {s}"), Err(f) => show(&f) }, t.elapsed());
    }
    for name in ["rogue_start", "rogue_spec", "nyc_tlc", "trip_cleaner", "first_cleaner"] {
        let t = Instant::now();
        let r = host.load_file(&component(name)).and_then(|p| p.inspect());
        println!("{name}: {} [{:?}]", match r { Ok(i) => i.to_json().to_string(), Err(e) => show(&Fault::new(e)) }, t.elapsed());
    }
    for forgery in ["body-length"] { let _ = forgery; }
}
#[test]
fn cleaners() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let host = host(&rt, dir.path());
    let plugin = host.load_file(&component("rogue_cleaner")).unwrap();
    use arrow_array::*;
    let batch = RecordBatch::try_from_iter_with_nullable([("id", Arc::new(Int64Array::from_iter_values(0..1000)) as ArrayRef, true), ("name", Arc::new(StringArray::from_iter_values((0..1000).map(|n| n.to_string()))) as ArrayRef, true)]).unwrap();
    for fault in ["good","drops-everything","error","endless-loop","trap","memory-bomb","bad-mask","long-mask","dirty-mask","bad-reasons","bad-reason-count","forged-ipc","forged-writes","wrong-type","wrong-length","unpromised-column","missing-columns","reserved-column","duplicate-rules","reads-undeclared","reads-missing"] {
        let t = Instant::now();
        let out = (|| -> Result<String, Fault> {
            let cleaner = host.cleaner(&plugin, &json!({"fault": fault}))?;
            let bound = cleaner.bind(&batch.schema(), None)?;
            let reads: Vec<usize> = bound.reads().iter().map(|n| batch.schema().index_of(n).unwrap()).collect();
            let input = batch.project(&reads).unwrap();
            let mut s = String::new();
            std::thread::scope(|scope| { let hs: Vec<_> = (0..3).map(|_| scope.spawn(|| bound.clean(&input))).collect(); let mut out = vec![]; for h in hs { out.push(h.join().unwrap()); } for o in out { match o { Ok(p) => s += &format!("dropped {} cols {};", p.codes.map_or(0, |c| c.iter().filter(|c| **c > 0).count()), p.columns.len()), Err(e) => s += &format!("ERR {};", show(&e)) } } });
            Ok(s)
        })();
        println!("{fault}: {} [{:?}]", match out { Ok(s) => s, Err(f) => show(&f) }, t.elapsed());
    }
}
