//! Keys that run out, against a store that checks nothing but which keys a request was signed with.

use std::sync::atomic::{AtomicU32, Ordering};

use object_store::aws::AmazonS3Builder;
use object_store::client::{ClientOptions, HttpClient, HttpConnector, HttpResponseBody};
use object_store::{ObjectStoreExt, path::Path};

use super::*;

const EXPIRED_ANSWER: &str =
    "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
const DENIED_ANSWER: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";

fn keys(generation: u32) -> S3Keys {
    S3Keys {
        access_key: Secret::new(format!("id{generation}")),
        secret_key: Secret::new(format!("secret{generation}")),
        session_token: Some(Secret::new(format!("token{generation}"))),
    }
}

/// Requests: what each was signed with, and the hash of its body.
type Seen = Arc<Mutex<Vec<(Method, Used, Option<String>)>>>;

/// Lets in who signs with the keys of this generation.
#[derive(Debug)]
struct Bucket {
    good: u32,
    refusal: &'static str,
    seen: Seen,
}

#[async_trait]
impl HttpService for Bucket {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let used = Used::of(request.headers()).unwrap();
        let hash = request.headers().get(BODY_HASH).map(|hash| hash.to_str().unwrap().to_owned());
        let good = used.key_id == format!("id{}", self.good);
        self.seen.lock().unwrap().push((request.method().clone(), used, hash));
        let body = if good || *request.method() == Method::HEAD { "" } else { self.refusal };
        let mut answer = HttpResponse::new(HttpResponseBody::from(body.to_owned()));
        *answer.status_mut() = if good { reqwest::StatusCode::OK } else { reqwest::StatusCode::BAD_REQUEST };
        answer.headers_mut().insert("etag", "\"x\"".parse().unwrap());
        answer.headers_mut().insert("content-length", "0".parse().unwrap());
        answer.headers_mut().insert("last-modified", "Wed, 31 Jan 2024 00:00:00 GMT".parse().unwrap());
        Ok(answer)
    }
}

#[derive(Debug)]
struct To(Mutex<Option<Renewing<Bucket>>>);

impl HttpConnector for To {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.lock().unwrap().take().unwrap()))
    }
}

/// A client with keys of generation 0 before a bucket that takes those of `good`; look-ups find generation 1.
fn client(good: u32, refusal: &'static str) -> (impl ObjectStoreExt, Seen, Arc<AtomicU32>) {
    let (seen, asked) = (Seen::default(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&asked);
    let source = LookUp::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(keys(1))
    });
    let given = Arc::new(GivenKeys::new(&keys(0), source));
    let service = Renewing { client: Bucket { good, refusal, seen: Arc::clone(&seen) }, keys: given.clone() };
    let client = AmazonS3Builder::new()
        .with_bucket_name("b")
        .with_region("eu-west-3")
        .with_credentials(given)
        .with_http_connector(To(Mutex::new(Some(service))))
        .build()
        .unwrap();
    (client, seen, asked)
}

#[tokio::test]
async fn a_request_with_old_keys_is_made_once_more_and_later_ones_have_the_new() {
    let (client, seen, asked) = client(1, EXPIRED_ANSWER);
    client.put(&Path::from("a"), Bytes::from_static(b"hello").into()).await.unwrap();
    client.put(&Path::from("b"), Bytes::from_static(b"hello").into()).await.unwrap();
    let seen = seen.lock().unwrap();
    let used: Vec<&str> = seen.iter().map(|(_, used, _)| used.key_id.as_str()).collect();
    assert_eq!((used, asked.load(Ordering::SeqCst)), (vec!["id0", "id1", "id1"], 1));
    assert_eq!((seen[1].1.token.as_deref(), seen[1].1.region.as_str()), (Some("token1"), "eu-west-3"));
    assert_eq!(seen[0].2, seen[1].2, "the hash of the body is that of the first try");
}

#[tokio::test]
async fn an_answer_without_words_is_asked_again_too() {
    let (client, seen, asked) = client(1, EXPIRED_ANSWER);
    client.head(&Path::from("a")).await.unwrap();
    assert_eq!((seen.lock().unwrap().len(), asked.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn who_has_no_other_keys_is_left_alone_and_so_is_who_lacks_rights() {
    let (client, seen, asked) = client(2, EXPIRED_ANSWER);
    for _ in 0..3 {
        let error = client.put(&Path::from("a"), Bytes::from_static(b"x").into()).await.unwrap_err();
        assert!(error.to_string().contains("ExpiredToken"), "{error}");
    }
    // Those of the first look-up, then none that are others.
    assert_eq!((seen.lock().unwrap().len(), asked.load(Ordering::SeqCst)), (4, 2));
    let (client, seen, asked) = self::client(2, DENIED_ANSWER);
    assert!(client.put(&Path::from("a"), Bytes::from_static(b"x").into()).await.is_err());
    assert_eq!((seen.lock().unwrap().len(), asked.load(Ordering::SeqCst)), (1, 0));
}

#[test]
fn what_a_request_says_of_its_keys_is_read() {
    let mut headers = HeaderMap::new();
    assert_eq!(Used::of(&headers), None);
    let scope = "AWS4-HMAC-SHA256 Credential=a/b/20240131/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    headers.insert(AUTHORIZATION, scope.parse().unwrap());
    let used = Used { key_id: "a/b".to_owned(), token: None, region: "us-east-1".to_owned() };
    assert_eq!(Used::of(&headers), Some(used));
    assert!(!format!("{:?}", keys(7)).contains("secret7"));
}
