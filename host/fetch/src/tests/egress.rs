//! Where requests may go, and what they may carry: every way around the grants that is known.

use super::*;
use crate::Outcome;
use lakehost_server::Fault;

fn send_with(world: &World, fetcher: &Fetcher, url: &str) -> Result<Arc<Spool>, Error> {
    world.runtime.block_on(fetcher.fetch(Request::get(url)))
}

#[test]
fn what_is_not_granted_is_never_sent() {
    let world = World::new();
    let port = world.server.addr.port();
    for url in [
        format!("http://localhost:{port}/a"),
        format!("http://127.0.0.2:{port}/a"),
        format!("https://127.0.0.1:{port}/a"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://[::1]:{port}/a"),
        format!("http://[::ffff:127.0.0.1]:{port}/a"),
        format!("http://user:pass@127.0.0.1:{port}/a"),
        "file:///etc/passwd".to_owned(),
    ] {
        let message = world.refused(&url);
        assert!(!message.contains("pass@"), "{message}");
    }
    assert_eq!(world.server.requests(), []);
    assert_eq!(world.fetcher.ledger().summary().total.refused, 8);
}

#[test]
fn other_spellings_of_the_granted_address_are_that_address() {
    let world = World::new();
    let bytes = world.file("a", 100);
    let port = world.server.addr.port();
    for host in ["127.1", "2130706433", "0x7f.0.0.1", "127.0.0.1."] {
        assert_holds(&send_with(&world, &world.fetcher, &format!("http://{host}:{port}/a")).unwrap(), &bytes);
    }
    assert!(
        world.server.requests().iter().all(|request| request.header("host") == Some(&world.server.addr.to_string()))
    );
}

#[test]
fn redirects_are_checked_hop_by_hop() {
    let world = World::new();
    let bytes = world.file("b", 100);
    let other = Server::start(world.folder.path()).unwrap();
    world.server.fault("a", Fault::RedirectTo("/b?x=1".to_owned()));
    assert_holds(&world.fetch("a").unwrap(), &bytes);
    for (target, granted) in [
        ("http://169.254.169.254/latest/".to_owned(), false),
        ("http://[::ffff:169.254.169.254]/".to_owned(), false),
        (other.url_of("b"), true),
        ("file:///etc/passwd".to_owned(), false),
        ("ftp://127.0.0.1/b".to_owned(), false),
        (format!("http://localhost:{}/b", world.server.addr.port()), true),
        ("//evil.example/b".to_owned(), true),
        (world.server.url_of("b").replace("http://", "http://user:pass@"), false),
    ] {
        world.server.clear_faults();
        world.server.fault("a", Fault::RedirectTo(target.clone()));
        let Err(Error::Refused(refused)) = world.fetch("a") else { panic!("{target}") };
        assert_eq!(refused.grant_line.is_some(), granted, "{refused}");
    }
    assert_eq!(other.requests(), []);
    let refused = world.fetcher.ledger().entries();
    assert!(refused.iter().filter(|entry| matches!(entry.outcome, Outcome::Refused { .. })).count() >= 8);

    // Where both ends are granted, the way is free.
    let fetcher = world.fetcher_with(&[&world.server.url(), &other.url()], &[]);
    world.server.clear_faults();
    world.server.fault("a", Fault::RedirectWith(308, other.url_of("b")));
    assert_holds(&send_with(&world, &fetcher, &world.server.url_of("a")).unwrap(), &bytes);
}

#[test]
fn redirects_end() {
    let world = World::new();
    let bytes = world.file("hop-5", 100);
    for hop in 0..5 {
        world.server.fault(&format!("hop-{hop}"), Fault::RedirectTo(format!("/hop-{}", hop + 1)));
    }
    assert_holds(&world.fetch("hop-0").unwrap(), &bytes);
    world.server.fault("start", Fault::RedirectTo("/hop-0".to_owned()));
    assert_eq!(
        world.fetch("start").unwrap_err(),
        Error::TooManyRedirects { url: world.server.url_of("start"), limit: 5 }
    );
    world.server.fault("loop", Fault::RedirectTo("/loop".to_owned()));
    assert!(matches!(world.fetch("loop"), Err(Error::TooManyRedirects { .. })));
    world.server.fault("odd", Fault::RedirectTo("http://[".to_owned()));
    assert!(matches!(world.fetch("odd"), Err(Error::BadResponse { .. })));
}

#[test]
fn headers_stay_with_the_origin_they_were_meant_for() {
    let world = World::new();
    world.file("b", 100);
    let other = Server::start(world.folder.path()).unwrap();
    let fetcher = world.fetcher_with(&[&world.server.url(), &other.url()], &[]);
    world.server.fault("a", Fault::RedirectTo(other.url_of("b")));
    let headers = vec![("X-Api-Key".to_owned(), "k".to_owned()), ("Accept".to_owned(), "text/csv".to_owned())];
    let request = Request { headers, ..Request::get(world.server.url_of("a")) };
    world.runtime.block_on(fetcher.fetch(request)).unwrap().wait_complete().unwrap();
    let (first, second) = (&world.server.requests()[0], &other.requests()[0]);
    assert_eq!((first.header("x-api-key"), first.header("accept")), (Some("k"), Some("text/csv")));
    assert_eq!((second.header("x-api-key"), second.header("accept")), (None, Some("text/csv")));
    assert_eq!((second.header("referer"), second.header("cookie")), (None, None));
}

#[test]
fn headers_that_are_the_hosts_are_refused_before_anything_is_sent() {
    let world = World::new();
    world.file("a", 100);
    for name in [
        "Host",
        "Authorization",
        "Cookie",
        "Proxy-Authorization",
        "Forwarded",
        "X-Forwarded-For",
        "Connection",
        "Range",
        "Content-Length",
    ] {
        let request =
            Request { headers: vec![(name.to_owned(), "x".to_owned())], ..Request::get(world.server.url_of("a")) };
        assert!(matches!(world.send(request), Err(Error::HeaderRefused { .. })), "{name}");
    }
    assert_eq!(world.server.requests(), []);
}

#[test]
fn only_checked_addresses_of_a_name_are_dialled() {
    let world = World::new();
    let bytes = world.file("a", 100);
    let port = world.server.addr.port();
    let grant = format!("http://data.example:{port}/");
    let url = format!("http://data.example:{port}/a");
    // Without a network grant a name that leads inside is refused, whatever else it leads to.
    for addresses in [&["127.0.0.1"][..], &["::1"], &["10.0.0.1", "127.0.0.1"], &["::ffff:127.0.0.1"]] {
        let fetcher = world.fetcher_with(&[&grant], addresses);
        let Err(Error::Refused(refused)) = send_with(&world, &fetcher, &url) else { panic!("{addresses:?}") };
        assert_eq!(refused.url, url);
        assert!(
            refused.grant_line.is_some_and(|line| line.ends_with("/32") || line.ends_with("/128")),
            "{addresses:?}"
        );
        assert!(matches!(fetcher.ledger().entries()[0].outcome, Outcome::Refused { .. }));
    }
    // A literal grant of the same address does not open it to names.
    let fetcher = world.fetcher_with(&[&grant, &world.server.url()], &["127.0.0.1"]);
    assert!(matches!(send_with(&world, &fetcher, &url), Err(Error::Refused(_))));
    // Metadata stays closed even when all networks are granted.
    for addresses in
        [&["169.254.169.254"][..], &["fd00:ec2::254"], &["fe80::1"], &["0.0.0.0"], &["::ffff:169.254.169.254"]]
    {
        let fetcher = world.fetcher_with(&[&grant, "0.0.0.0/0", "::/0"], addresses);
        let Err(Error::Refused(refused)) = send_with(&world, &fetcher, &url) else { panic!("{addresses:?}") };
        assert_eq!(refused.grant_line, None);
    }
    // With a network grant the checked address is dialled, and the closed ones beside it are not.
    let fetcher = world.fetcher_with(&[&grant, "127.0.0.1/32"], &["169.254.169.254", "10.0.0.1", "127.0.0.1"]);
    let spool = send_with(&world, &fetcher, &url).unwrap();
    assert_holds(&spool, &bytes);
    assert_eq!(fetcher.ledger().entries()[0].address, Some(world.server.addr));
    assert_eq!(world.server.requests().len(), 1);
}

#[test]
fn a_name_that_rebinds_gains_nothing() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let world = World::new();
    world.file("a", 100);
    let port = world.server.addr.port();
    // Public first, inside ever after. The public one is a test network of ours, so that nothing leaves this machine.
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let lookup: Lookup = Arc::new(move |_| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move { Ok(vec![if first { [127, 0, 0, 2].into() } else { [127, 0, 0, 1].into() }]) })
    });
    let allow = Allowlist::parse([format!("http://data.example:{port}/"), "127.0.0.2/32".to_owned()]).unwrap();
    let fetcher = Fetcher::with_lookup(
        world.runtime.handle().clone(),
        allow,
        world.limits.clone(),
        world.spool_dir(),
        Ledger::new(),
        lookup,
    );
    // 127.0.0.2 has no server: the first try cannot connect, the second is refused, and no third is made.
    let error = send_with(&world, &fetcher, &format!("http://data.example:{port}/a")).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(world.server.requests(), []);
}

#[test]
fn a_name_without_addresses_is_named() {
    let world = World::new();
    let fetcher = world.fetcher_with(&["http://data.example/"], &[]);
    let error = send_with(&world, &fetcher, "http://data.example/a?token=s3cret").unwrap_err();
    assert_eq!(error, Error::Resolve { host: "data.example".to_owned(), detail: "no such name".to_owned() });
}

#[test]
fn tls_without_trust_is_no_connection() {
    let world = World::new();
    world.file("a", 100);
    let https = world.server.url().replace("http://", "https://");
    let fetcher = world.fetcher_with(&[&https], &[]);
    // The server speaks plain HTTP: what it answers to a handshake is none.
    let error = send_with(&world, &fetcher, &format!("{https}a")).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    const NAME: &str = "tests::egress::proxies_of_the_environment_are_ignored";
    const CHILD: &str = "LAKEHOST_TEST_PROXY_CHILD";
    if std::env::var_os(CHILD).is_none() {
        // The environment is read once per process, so a process of its own has it. The proxy would log, were it asked.
        let proxy = World::new();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", NAME, "--test-threads", "1"]).env(CHILD, "1");
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            child.env(name, proxy.server.url());
        }
        let output = child.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(proxy.server.requests(), []);
        return;
    }
    let world = World::new();
    let bytes = world.file("a", 100);
    assert_holds(&world.fetch("a").unwrap(), &bytes);
    assert_eq!(world.server.requests().len(), 1);
}
