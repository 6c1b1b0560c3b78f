//! Who is let in, and what is said to requests that are none.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::support::World;
use crate::{Error, Options, serve};

#[test]
fn every_route_asks_for_the_token_and_a_name_of_this_machine() {
    let world = World::new();
    world.with_table("t");
    for path in ["config", "namespaces", "namespaces/raw/tables/t", "nowhere"] {
        for token in ["Bearer wrong", "Basic eDp5", ""] {
            let reply = world.send(Method::GET, path, &[("authorization", token)], None);
            reply.refused(401, "NotAuthorizedException");
        }
        let reply = world.send(Method::GET, path, &[("host", "evil.example")], None);
        reply.refused(403, "ForbiddenException");
    }
    let deleted = world.send(Method::DELETE, "namespaces/raw/tables/t", &[("authorization", "Bearer x")], None);
    deleted.refused(401, "NotAuthorizedException");
    assert_eq!(world.head("namespaces/raw/tables/t"), 204);
}

#[test]
fn the_first_answer_says_what_can_be_asked() {
    let world = World::new();
    let config = world.get("config?warehouse=lakehost").ok();
    let endpoints: Vec<&str> =
        config["endpoints"].as_array().unwrap().iter().map(|endpoint| endpoint.as_str().unwrap()).collect();
    for wanted in [
        "POST /v1/{prefix}/transactions/commit",
        "POST /v1/{prefix}/tables/rename",
        "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    ] {
        assert!(endpoints.contains(&wanted), "{wanted}");
    }
    assert!(!endpoints.iter().any(|endpoint| endpoint.contains("/views")));
    let root = world.lake.root();
    for name in ["", "lakehost", root, &format!("file://{root}")] {
        world.get(&format!("config?warehouse={name}")).ok();
    }
    let message = world.get("config?warehouse=other").refused(404, "NoSuchWarehouseException").to_owned();
    assert!(message.contains("lakehost"), "{message}");
}

#[test]
fn requests_that_are_none_are_refused_in_the_words_of_the_protocol() {
    let world = World::new();
    world.with_table("t");
    world.get("nowhere").refused(404, "NotFoundException");
    world.delete("config").refused(405, "UnsupportedOperationException");
    world.get("namespaces/raw/views").refused(406, "UnsupportedOperationException");
    world.get("namespaces/%FF").refused(400, "BadRequestException");
    world.get("namespaces?pageSize=x").refused(400, "BadRequestException");
    for body in ["", "{", "[]", "<html>", "{\"namespace\": \"raw\"}"] {
        let reply = world.send(Method::POST, "namespaces", &[], Some(body.to_owned()));
        reply.refused(400, "BadRequestException");
    }
    let large = format!("{{\"namespace\": [\"{}\"]}}", "x".repeat(17 * 1024 * 1024));
    let reply = world.send(Method::POST, "namespaces", &[], Some(large));
    reply.refused(413, "BadRequestException");
    let report = world.post("namespaces/raw/tables/t/metrics", &json!({ "report-type": "scan-report" }));
    assert_eq!(report.status, 204);
}

#[test]
fn a_stopped_server_is_gone_and_a_taken_port_is_said() {
    let world = World::new();
    let (address, uri) = (world.endpoint.address(), world.endpoint.uri());
    assert_eq!(uri, format!("http://{address}"));
    let taken = serve(&world.lake, Options { listen: address, ..Options::default() });
    let Err(error @ Error::Listen { .. }) = taken else { panic!("the port was taken") };
    assert_eq!(lakehost_pipeline::Diagnostic::code(&error).0, "LH1003");
    // A connection that says nothing does not keep the server.
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /v1/config HTTP/1.1\r\nHost: local").unwrap();
    let started = Instant::now();
    world.endpoint.stop();
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert!(TcpStream::connect(address).is_err());
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}
