//! A fake Kubernetes API server: the pods of one namespace, paged lists, and watches from a version
//! on. It speaks HTTP/1.1, closes each connection after the answer, and has several modes of
//! failure.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Correctly.
    Fair,
    /// With this status, to every request.
    Refusing(u16),
    /// Lists are answered, watches are forbidden.
    Unwatchable,
    /// Never.
    Mute,
    /// With bytes that are not JSON.
    Garbled,
    /// Each page of a list has a next one.
    Endless,
    /// Each watch ends at once, without an event.
    EndingWatches,
}

/// The server. Dropping it closes all connections.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Shared>,
    open: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// At least the present version; a change wakes the watches.
    changed: watch::Sender<u64>,
}

struct State {
    mood: Mood,
    pods: BTreeMap<String, Value>,
    events: Vec<(u64, Value)>,
    version: u64,
    /// The oldest version that a watch can start from.
    oldest: u64,
    requests: Vec<String>,
    connections: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port.
    pub(crate) async fn start() -> Self {
        let state = State {
            mood: Mood::Fair,
            pods: BTreeMap::new(),
            events: Vec::new(),
            version: 1,
            oldest: 0,
            requests: Vec::new(),
            connections: Vec::new(),
        };
        let state = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::default(),
        });
        let mut server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            state,
            open: None,
        };
        server.open().await;
        server
    }

    /// The configuration of a client in a pod of the namespace `mesh`.
    pub(crate) fn config(&self) -> kube::Config {
        let url = format!("http://{}", self.address).parse().unwrap();
        let mut config = kube::Config::new(url);
        config.default_namespace = "mesh".to_owned();
        config
    }

    /// Listens; after a `close`, at the same address.
    pub(crate) async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let shared = Arc::clone(&self.state);
        self.open = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&shared);
                let connection = tokio::spawn(async move {
                    // The client may close the connection early.
                    let _ = serving.serve(stream).await;
                });
                shared.lock().connections.push(connection);
            }
        }));
    }

    /// Closes the listener and all connections.
    pub(crate) async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            // The listener is closed once the task has ended; an aborted task ends with an error.
            let _ = open.await;
        }
        self.hang_up();
    }

    /// Closes all connections.
    pub(crate) fn hang_up(&self) {
        self.state
            .lock()
            .connections
            .drain(..)
            .for_each(|connection| connection.abort());
    }

    /// Sets how the server answers from now on.
    pub(crate) fn mood(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// Adds or changes a pod.
    pub(crate) fn put(&self, mut pod: Value) {
        let mut state = self.state.lock();
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if state.pods.contains_key(&name) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        pod["metadata"]["resourceVersion"] = json!((state.version + 1).to_string());
        state.pods.insert(name, pod.clone());
        self.record(state, kind, &pod);
    }

    /// Adds or changes an object as it is, under this key.
    pub(crate) fn put_odd(&self, key: &str, object: &Value) {
        let mut state = self.state.lock();
        state.pods.insert(key.to_owned(), object.clone());
        self.record(state, "MODIFIED", object);
    }

    /// Deletes a pod.
    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state.lock();
        let mut pod = state.pods.remove(name).unwrap();
        pod["metadata"]["resourceVersion"] = json!((state.version + 1).to_string());
        self.record(state, "DELETED", &pod);
    }

    fn record(&self, mut state: MutexGuard<'_, State>, kind: &str, pod: &Value) {
        state.version += 1;
        let version = state.version;
        state
            .events
            .push((version, json!({ "type": kind, "object": pod })));
        drop(state);
        self.state.changed.send_replace(version);
    }

    /// Forgets all events so far, as a real server does after some minutes.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.version += 1;
        state.oldest = state.version;
    }

    /// The paths of all requests so far, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.open.iter().for_each(JoinHandle::abort);
        self.hang_up();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let mut stream = stream.into_inner();
        let (mood, is_watch) = (self.lock().mood, path.contains("watch=true"));
        self.lock().requests.push(path.clone());
        match mood {
            Mood::Mute => std::future::pending().await,
            Mood::Garbled => answer(&mut stream, 200, "<html>").await,
            Mood::Refusing(code) => refuse(&mut stream, code).await,
            Mood::Unwatchable if is_watch => refuse(&mut stream, 403).await,
            Mood::EndingWatches if is_watch => answer(&mut stream, 200, "").await,
            _ if is_watch => self.watch(&mut stream, &path).await,
            _ => {
                let list = self.list(&path, mood == Mood::Endless).to_string();
                answer(&mut stream, 200, &list).await
            }
        }
    }

    fn list(&self, path: &str, endless: bool) -> Value {
        let state = self.lock();
        let limit = parameter(path, "limit").unwrap().parse().unwrap();
        let from = parameter(path, "continue").map_or(0, |token| token.parse().unwrap());
        let items: Vec<_> = state
            .pods
            .values()
            .skip(from)
            .take(limit)
            .cloned()
            .collect();
        let next = (endless || from + limit < state.pods.len()).then(|| (from + limit).to_string());
        json!({
            "kind": "PodList", "apiVersion": "v1", "items": items,
            "metadata": { "resourceVersion": state.version.to_string(), "continue": next },
        })
    }

    fn events_after(&self, known: u64) -> Vec<(u64, Value)> {
        let state = self.lock();
        state
            .events
            .iter()
            .filter(|(version, _)| *version > known)
            .cloned()
            .collect()
    }

    async fn watch(&self, stream: &mut TcpStream, path: &str) -> io::Result<()> {
        let mut known: u64 = parameter(path, "resourceVersion").unwrap().parse().unwrap();
        if known < self.lock().oldest {
            return refuse(stream, 410).await;
        }
        let mut changed = self.changed.subscribe();
        answer(stream, 200, "").await?;
        loop {
            changed.borrow_and_update();
            let news = self.events_after(known);
            for (version, event) in news {
                stream.write_all(format!("{event}\n").as_bytes()).await?;
                known = version;
            }
            if changed.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The value of a parameter in the query of `path`.
fn parameter<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = path
        .split(['?', '&'])
        .filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

async fn refuse(stream: &mut TcpStream, code: u16) -> io::Result<()> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": "Because", "message": "pods is not for you",
    });
    answer(stream, code, &status.to_string()).await
}

/// Returns the time on the clock of the server. The clocks of its agents are two weeks off.
pub(crate) fn server_now() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(14 * 24)
}

/// Sends an answer with a body that ends with the connection.
async fn answer(stream: &mut TcpStream, code: u16, body: &str) -> io::Result<()> {
    let date = server_now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let head = format!(
        "HTTP/1.1 {code} X\r\ndate: {date}\r\ncontent-type: application/json\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).await
}
