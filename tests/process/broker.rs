//! A real Apache Kafka for the tests: one broker in KRaft mode, with a small heap, on free ports
//! of the loopback interface and in a folder of its own. It can be killed, paused and started
//! again on the same data; it ends with its handle, and no other process is touched.
//!
//! The jars come from `tests/kafka/fetch`, which `tests/run` calls. Without `HOLDOVER_SERVERS` in
//! the environment there is no broker and the tests that need one are left out, so that a plain
//! `cargo test` needs no server; with it, a missing jar is a failure.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that a broker may take to answer; on a busy machine the JVM takes its time.
const START_MAX: Duration = Duration::from_secs(90);

/// A broker that runs, or has been killed and can run again.
pub(crate) struct Broker {
    folder: tempfile::TempDir,
    jars: PathBuf,
    port: u16,
    child: Child,
}

/// Two ports that nobody had a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Broker {
    /// Starts a broker, if servers are wanted.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests must see what is left out")]
    pub(crate) fn start() -> Option<Self> {
        if std::env::var_os("HOLDOVER_SERVERS").is_none() {
            eprintln!("left out: a real Kafka (tests/run brings one)");
            return None;
        }
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kafka/jars");
        assert!(jars.is_dir(), "no Kafka in {}: run tests/kafka/fetch", jars.display());
        let folder = tempfile::tempdir().unwrap();
        let [port, controller] = free_ports();
        let data = folder.path().join("data");
        let settings = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            data.display()
        );
        let file = folder.path().join("server.properties");
        std::fs::write(&file, settings).unwrap();
        let mut format = java(&jars, "kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", "aG9sZG92ZXItdGVzdHMtMQ", "--config"]).arg(&file);
        let formatted = format.output().expect("java cannot be started");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let child = spawn(&jars, folder.path());
        let broker = Self { folder, jars, port, child };
        broker.wait();
        Some(broker)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client's settings, with the address.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }

    /// Makes topics of so many partitions each.
    pub(crate) fn topics(&self, names: &[&str], partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topics: Vec<_> = names
            .iter()
            .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let made = runtime.block_on(admin.create_topics(&topics, &options)).unwrap();
        for topic in made {
            topic.unwrap();
        }
    }

    /// Removes topics, with all that stands in them.
    pub(crate) fn remove_topics(&self, names: &[&str]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for removed in runtime.block_on(admin.delete_topics(names, &options)).unwrap() {
            removed.unwrap();
        }
        let consumer: BaseConsumer = self.client().create().unwrap();
        let gone = || {
            let seen = consumer.fetch_metadata(None, Duration::from_secs(10)).unwrap();
            !seen.topics().iter().any(|topic| names.contains(&topic.name()))
        };
        let began = Instant::now();
        while !gone() {
            assert!(began.elapsed() < START_MAX, "the topics stay");
        }
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on what it left behind, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.jars, self.folder.path());
        self.wait();
    }

    fn wait(&self) {
        let began = Instant::now();
        let consumer: BaseConsumer = self.client().create().unwrap();
        while consumer.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            let log = self.folder.path().join("broker.log");
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(began.elapsed() < START_MAX, "the broker does not answer: {}", said());
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(jars.join("*")).arg(class).stdin(Stdio::null());
    command
}

fn spawn(jars: &Path, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("broker.log")).unwrap();
    let mut command = java(jars, "kafka.Kafka");
    command.arg(folder.join("server.properties"));
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("java cannot be started")
}
