//! The intake from a real Kafka: every record is accepted once or is a dead letter with its
//! reason, through kills of the daemon and of the broker, in the order of its key.
//!
//! `HOLDOVER_RECORDS` and `HOLDOVER_KILLS` set the size; `tests/process/kafka_intake` sets both.

use crate::broker::Broker;
use crate::order::{in_submit_order, line};
use crate::rig::{Client, Daemon, HOLDOVER, Site, Submitter, after, wait_for};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::Command;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 3;
/// The longest that it may take to read a topic.
const READ_MAX: Duration = Duration::from_secs(60);

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// The id in the text of an API key.
fn key_id(submitter: &Submitter) -> &str {
    submitter.key.split('_').nth(2).unwrap()
}

/// A broker with a topic for each of the first two submitters, and the daemon's settings for it.
pub(crate) struct Stage {
    broker: Broker,
    pub(crate) site: Site,
}

const TOPICS: [&str; 2] = ["his.one", "his.two"];
/// Where everybody's results go, and those of the first submitter.
const RESULTS: &str = "results";
const RESULTS_OF_ONE: &str = "results.one";
const WINDOWS: &str = "windows";

impl Stage {
    pub(crate) fn new(config: &str) -> Option<Self> {
        Some(Self::on(Broker::start()?, config))
    }

    fn on(broker: Broker, config: &str) -> Self {
        let site = Site::new(config);
        let mut all = Vec::new();
        for topic in TOPICS {
            all.extend([topic.to_owned(), answers(topic), letters(topic)]);
        }
        all.extend([RESULTS, RESULTS_OF_ONE, WINDOWS].map(str::to_owned));
        broker.topics(&all.iter().map(String::as_str).collect::<Vec<_>>(), PARTITIONS);
        let brokers = broker.address().replace(',', "\", \"");
        let mut text = format!("[kafka]\nbrokers = [\"{brokers}\"]\n");
        let one = &site.submitters[0].code;
        text += &format!("[publish.kafka]\nwindows = \"{WINDOWS}\"\n[publish.kafka.results]\n");
        text += &format!("\"{RESULTS}\" = \"*\"\n\"{RESULTS_OF_ONE}\" = \"{one}\"\n");
        text += "[intake.kafka.topics]\n";
        for (topic, submitter) in TOPICS.iter().zip(&site.submitters) {
            text += &format!("\"{topic}\" = \"{}\"\n", key_id(submitter));
        }
        site.lay_over(&text);
        Self { broker, site }
    }

    fn producer(&self) -> BaseProducer {
        let mut config = self.broker.client();
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        config.set("socket.timeout.ms", "5000");
        config.create().unwrap()
    }

    /// Has one record accepted, one known already and one that cannot be taken, over some seconds.
    pub(crate) fn one_of_each(&self, daemon: &Daemon) {
        joined(daemon);
        let producer = self.producer();
        for value in [&line(1, 1), &line(1, 1), POISON] {
            send(&producer, TOPICS[0], "k", value, OwnedHeaders::new());
            producer.flush(Duration::from_secs(30)).unwrap();
            std::thread::sleep(Duration::from_secs(2));
        }
        told(self, 3, Duration::from_secs(30));
    }

    /// Everything that stands in `topic`, partition by partition.
    fn read(&self, topic: &str) -> Vec<OwnedMessage> {
        let mut config = self.broker.client();
        config.set("group.id", "looks-only").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut places = TopicPartitionList::new();
        let mut left = 0;
        for partition in 0..PARTITIONS {
            // Another broker takes over from one that is away.
            let (low, high) = wait_for("a broker tells how much there is", READ_MAX, || {
                consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).ok()
            });
            left += high - low;
            places.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&places).unwrap();
        let (mut found, began) = (Vec::new(), Instant::now());
        while left > 0 {
            assert!(began.elapsed() < READ_MAX, "{left} records of {topic} are not told");
            match consumer.poll(Duration::from_secs(1)) {
                Some(Ok(record)) => found.push(record.detach()),
                // One that is away; the client goes on trying.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::OperationTimedOut,
                )))
                | None => continue,
                Some(Err(error)) => panic!("{topic}: {error}"),
            }
            left -= 1;
        }
        found
    }
}

/// A stop of ten minutes that holds advices and refuses everything else.
const STOP: &str = r#"
[window.stop]
starts_at = "@STARTS@"
ends_at = "@ENDS@"
author = "duty officer"
reason = "upgrade"
restore_by = "signed"

[window.stop.notice]
source = "the bureau"
published_at = "2022-08-09T09:00:00+08:00"

[[window.stop.row]]
clause = "1"
disposition = "refuse"

[[window.stop.row]]
clause = "2"
disposition = "hold"
[window.stop.row.cells]
business = ["settlement.outpatient"]
operation = ["advice"]
"#;

fn answers(topic: &str) -> String {
    format!("{topic}.answers")
}

fn letters(topic: &str) -> String {
    format!("{topic}.dead-letters")
}

/// The value of a header, as text.
fn header<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    let headers = record.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    std::str::from_utf8(found.value?).ok()
}

/// Where the record stands that an answer or a dead letter is about.
fn whence(record: &OwnedMessage) -> (String, i32, i64) {
    let of = |name| header(record, name).unwrap().to_owned();
    let (partition, offset) = (of("holdover-partition"), of("holdover-offset"));
    (of("holdover-topic"), partition.parse().unwrap(), offset.parse().unwrap())
}

fn body(record: &OwnedMessage) -> Value {
    serde_json::from_slice(record.payload().unwrap()).unwrap()
}

/// Sends, waiting for room in the client's queue.
fn send(producer: &BaseProducer, topic: &str, key: &str, value: &str, headers: OwnedHeaders) {
    let mut record = BaseRecord::to(topic).key(key).payload(value).headers(headers);
    while let Err((_, again)) = producer.send(record) {
        producer.poll(Duration::from_millis(10));
        record = again;
    }
}

fn metric(daemon: &Daemon, series: &str) -> f64 {
    let text = daemon.admin().get("/metrics").unwrap().text();
    let line =
        text.lines().find(|line| line.strip_prefix(series).is_some_and(|r| r.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {series}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until the daemon takes every partition in.
fn joined(daemon: &Daemon) {
    wait_for("the group is joined", Duration::from_secs(60), || {
        let held = metric(daemon, "holdover_kafka_assigned_partitions");
        (held as i32 == PARTITIONS * TOPICS.len() as i32).then_some(())
    });
}

/// Every record of `expected` has an answer or a dead letter. Gives both, by where they stand.
fn told(stage: &Stage, expected: usize, bound: Duration) -> Told {
    wait_for("every record is answered", bound, || {
        let mut told = Told::default();
        for topic in TOPICS {
            for answer in stage.read(&answers(topic)) {
                told.answers.entry(whence(&answer)).or_default().push(answer);
            }
            for letter in stage.read(&letters(topic)) {
                told.letters.entry(whence(&letter)).or_default().push(letter);
            }
        }
        (told.answers.len() + told.letters.len() >= expected).then_some(told)
    })
}

#[derive(Default)]
struct Told {
    answers: BTreeMap<(String, i32, i64), Vec<OwnedMessage>>,
    letters: BTreeMap<(String, i32, i64), Vec<OwnedMessage>>,
}

/// What is produced: submissions of so many ordering keys in two topics, here and there a repeat,
/// or something that is no submission.
struct Load {
    producer: BaseProducer,
    random: fastrand::Rng,
    /// The submissions of each key.
    places: Vec<u32>,
    poison: usize,
    repeats: usize,
}

impl Load {
    fn new(producer: BaseProducer, keys: usize) -> Self {
        let random = fastrand::Rng::with_seed(20_220_812);
        Self { producer, random, places: vec![0; keys], poison: 0, repeats: 0 }
    }

    fn produce(&mut self, records: usize) {
        for _ in 0..records {
            let key = self.random.usize(..self.places.len());
            let place = &mut self.places[key];
            let value = match self.random.u32(..200) {
                0 => {
                    self.poison += 1;
                    POISON.to_owned()
                }
                1 if *place > 0 => {
                    self.repeats += 1;
                    line(key, self.random.u32(1..=*place))
                }
                _ => {
                    *place += 1;
                    line(key, *place)
                }
            };
            let visit = format!("visit-{key}");
            send(&self.producer, TOPICS[key % 2], &visit, &value, OwnedHeaders::new());
        }
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }
}

/// No JSON.
const POISON: &str = "{\"business\": ";

#[test]
fn every_record_is_accepted_once_or_a_dead_letter_through_kills() {
    let records = from_environment("HOLDOVER_RECORDS", 10_000);
    let kills = from_environment("HOLDOVER_KILLS", 3);
    let config = "[journal]\nsegment_bytes = 4194304\n[log]\nlevel = \"warn\"\n";
    let Some(mut stage) = Stage::new(config) else { return };
    let mut load = Load::new(stage.producer(), records.div_ceil(100));
    let began = Instant::now();
    let mut daemon = stage.site.start();
    let part = records / (kills + 1);
    for kill in 0..kills {
        load.produce(part);
        // In mid-work: some of it is taken, some is not.
        let before = daemon.items("accepted");
        wait_for("something is taken in", Duration::from_secs(90), || {
            (daemon.items("accepted") > before + (part / 10) as i64).then_some(())
        });
        daemon.kill();
        if kill == kills / 2 {
            stage.broker.kill();
            // It starts without a broker, and joins when there is one.
            daemon = stage.site.start();
            stage.broker.start_again();
        } else {
            daemon = stage.site.start();
        }
    }
    load.produce(records - part * kills);
    let Load { places, poison, repeats, .. } = load;
    let told = told(&stage, records, Duration::from_secs(60 + records as u64 / 200));
    let took = began.elapsed();

    assert_eq!(told.letters.len(), poison);
    assert!(
        told.letters.values().flatten().all(|l| header(l, "holdover-reason") == Some("malformed"))
    );
    let letter = told.letters.values().next().unwrap();
    assert_eq!(letter[0].payload(), Some(POISON.as_bytes()), "the record as it was");
    let distinct: u32 = places.iter().sum();
    let ids: HashSet<String> = told
        .answers
        .values()
        .map(|answers| {
            // An answer that was cut off is given once more, and says the same.
            let bodies: BTreeSet<_> = answers.iter().map(|a| a.payload().unwrap()).collect();
            assert_eq!(bodies.len(), 1);
            body(&answers[0])["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), distinct as usize, "one transaction for each key of an intent");
    assert_eq!(daemon.items("accepted"), i64::from(distinct));
    daemon.settle(Duration::from_secs(60 + records as u64 / 500));
    let counts = in_submit_order(&stage.site.core.log, &places).unwrap();
    assert_eq!(counts.effects, u64::from(distinct));
    let again = told.answers.values().filter(|answers| answers.len() > 1).count();
    let published = results_of(&stage, &ids);
    ends_without_a_broker(&mut stage, &daemon);
    println!(
        "{records} records, {kills} kills of the daemon and one of the broker in {took:.1?}: \
         {distinct} transactions, {poison} dead letters, {repeats} repeats, {again} answered twice, \
         {published} results published for them"
    );
}

/// A result that no broker takes keeps nobody from stopping.
fn ends_without_a_broker(stage: &mut Stage, daemon: &Daemon) {
    stage.broker.kill();
    let applied = daemon.items("applied");
    let kind = [("Content-Type", "application/x-ndjson")];
    let mut client = daemon.client(&stage.site.submitters[0]);
    let path = "/v1/transactions/batch";
    let answer = client.request("POST", path, &kind, line(1_000_000, 1).as_bytes()).unwrap();
    assert!(answer.text().contains("\"status\":202"), "{}", answer.text());
    wait_for("it is applied", Duration::from_secs(30), || {
        (daemon.items("applied") > applied).then_some(())
    });
    daemon.terminate();
    let ended = daemon.ended(Duration::from_secs(10));
    assert!(ended.success(), "{ended}: {}", daemon.said());
}

#[test]
fn three_brokers_lose_one_and_then_another_stands_still_and_nothing_is_lost() {
    let Some(broker) = Broker::three() else { return };
    let mut stage = Stage::on(broker, "[log]\nlevel = \"warn\"\n");
    let mut load = Load::new(stage.producer(), 20);
    let daemon = stage.site.start();
    joined(&daemon);
    let (part, bound) = (500, Duration::from_secs(90));
    load.produce(part);
    stage.broker.kill();
    load.produce(part);
    told(&stage, 2 * part, bound);
    stage.broker.start_again();
    for topic in TOPICS {
        stage.broker.in_sync(topic);
        stage.broker.in_sync(&answers(topic));
    }
    stage.broker.pause();
    load.produce(part);
    told(&stage, 3 * part, bound);
    stage.broker.go_on();
    load.produce(part);
    let told = told(&stage, 4 * part, bound);
    assert_eq!(told.letters.len(), load.poison);
    let distinct: u32 = load.places.iter().sum();
    daemon.settle(bound);
    assert_eq!(daemon.items("accepted"), i64::from(distinct));
    let counts = in_submit_order(&stage.site.core.log, &load.places).unwrap();
    assert_eq!(counts.effects, u64::from(distinct));
    let said = daemon.said();
    assert!(!said.contains("as safe as one disk"), "three replicas, two in sync: {said}");
}

/// Every one of `ids` has its result in the topic of all, in the order of its key, and those of the
/// first submitter in its topic too. How many records that took.
fn results_of(stage: &Stage, ids: &HashSet<String>) -> usize {
    let (mut results, mut found) = (Vec::new(), HashSet::new());
    wait_for("every result is published", Duration::from_secs(60), || {
        results = stage.read(RESULTS);
        found = results.iter().map(|r| header(r, "ce_subject").unwrap().to_owned()).collect();
        (found.len() >= ids.len()).then_some(())
    });
    assert_eq!(&found, ids);
    let mut events: BTreeMap<&str, &OwnedMessage> = BTreeMap::new();
    let mut latest: BTreeMap<&[u8], &str> = BTreeMap::new();
    for result in &results {
        assert_eq!(header(result, "ce_type"), Some("holdover.transaction.result"));
        assert_eq!(body(result)["state"], "applied");
        let id = header(result, "ce_id").unwrap();
        if let Some(first) = events.insert(id, result) {
            assert_eq!(first.payload(), result.payload(), "one event says one thing");
            continue;
        }
        // Ids of one partition rise with acceptance.
        let subject = header(result, "ce_subject").unwrap();
        if let Some(before) = latest.insert(result.key().unwrap(), subject) {
            assert!(before < subject, "{before} and {subject} are out of order");
        }
    }
    let of = |topic| -> HashSet<String> {
        let results = stage.read(topic);
        results.iter().map(|r| header(r, "ce_subject").unwrap().to_owned()).collect()
    };
    let theirs: HashSet<String> = stage
        .read(&answers(TOPICS[0]))
        .iter()
        .map(|answer| body(answer)["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(of(RESULTS_OF_ONE), theirs);
    results.len()
}

/// The window stands in its topic, and a transaction that is taken back in that of results.
fn window_and_withdrawal_of(stage: &Stage, daemon: &Daemon, id: &str) {
    let path = format!("/v1/transactions/{id}/withdraw");
    let mut client = daemon.client(&stage.site.submitters[0]);
    let answer = client.send("POST", &path, &json!({ "reason": "a mistake" })).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = wait_for("the result is published", Duration::from_secs(30), || {
        Some(stage.read(RESULTS)).filter(|results| !results.is_empty())
    });
    assert_eq!(results.len(), 1, "what waits is no news");
    let said = body(&results[0]);
    assert_eq!(said["id"], json!(id));
    assert_eq!((&said["state"], &said["final"]), (&json!("withdrawn"), &json!(true)));
    assert!(said.get("insured").is_none() && said.get("payload").is_none(), "{said}");
    let published = &daemon.look("/admin/v1/status")["published"];
    assert_eq!(published["interrupted_since"], Value::Null, "{published}");
    let windows = stage.read(WINDOWS);
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0].key(), Some("stop".as_bytes()));
    assert_eq!(header(&windows[0], "ce_type"), Some("holdover.window"));
    assert_eq!(header(&windows[0], "ce_id"), Some("stop.1"));
    assert_eq!(body(&windows[0])["rows"][1]["disposition"], "hold");
}

#[test]
fn a_record_is_read_in_three_forms_and_refused_in_words() {
    let Some(stage) = Stage::new("") else { return };
    let daemon = stage.site.start();
    let producer = stage.producer();
    let plain = |key: &str| {
        let mut body: Value = serde_json::from_str(&line(1, 1)).unwrap();
        body["idempotency_key"] = json!(key);
        body
    };
    let bare = |key: &str| {
        let mut body = plain(key);
        body.as_object_mut().unwrap().remove("idempotency_key");
        body.to_string()
    };
    let headers = |pairs: &[(&str, &str)]| {
        pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        })
    };
    let kind = "holdover.transaction.submission";
    let binary =
        [("ce_specversion", "1.0"), ("ce_id", "k2"), ("ce_source", "/his"), ("ce_type", kind)];
    let event = json!({
        "specversion": "1.0", "id": "k3", "source": "/his", "type": kind,
        "data": serde_json::from_str::<Value>(&bare("")).unwrap(),
    });
    let structured = [("content-type", "application/cloudevents+json")];
    let mut other = plain("k1");
    other["amount"] = json!("99.00");
    let mut field = plain("k6");
    field["amount"] = json!("1.234");
    let records: [(&str, String, OwnedHeaders, &str); 8] = [
        ("1", plain("k1").to_string(), headers(&[]), "accepted"),
        ("2", bare(""), headers(&binary), "accepted"),
        ("3", event.to_string(), headers(&structured), "accepted"),
        ("4", bare(""), headers(&[("idempotency-key", "k4")]), "accepted"),
        ("5", other.to_string(), headers(&[]), "idempotency_key_reused"),
        ("6", field.to_string(), headers(&[]), "invalid"),
        ("7", bare(""), headers(&[("idempotency-key", "")]), "idempotency_key_missing"),
        ("8", "x".repeat(300_000), headers(&[]), "body_too_large"),
    ];
    for (key, value, headers, _) in &records {
        // One after the other, so that the fifth finds the first.
        send(&producer, TOPICS[0], key, value, headers.clone());
        producer.flush(Duration::from_secs(30)).unwrap();
        let done = records.iter().position(|record| record.0 == *key).unwrap() + 1;
        drop(told(&stage, done, Duration::from_secs(60)));
    }
    let told = told(&stage, records.len(), Duration::from_secs(60));
    for record in told.answers.values().flatten() {
        let place = std::str::from_utf8(record.key().unwrap()).unwrap();
        let expected = records.iter().find(|record| record.0 == place).unwrap().3;
        assert_eq!(
            (expected, header(record, "ce_type")),
            ("accepted", Some("holdover.transaction.receipt"))
        );
        assert_eq!(header(record, "ce_specversion"), Some("1.0"));
        assert_eq!(header(record, "ce_id"), body(record)["id"].as_str());
    }
    for record in told.letters.values().flatten() {
        let place = std::str::from_utf8(record.key().unwrap()).unwrap();
        let (_, value, _, expected) = records.iter().find(|record| record.0 == place).unwrap();
        assert_eq!(header(record, "holdover-reason"), Some(*expected));
        assert!(!header(record, "holdover-detail").unwrap().is_empty());
        assert_eq!(record.payload(), Some(value.as_bytes()));
    }
    assert_eq!((told.answers.len(), told.letters.len()), (4, 4));
    let field =
        told.letters.values().flatten().find(|l| header(l, "holdover-reason") == Some("invalid"));
    assert!(header(field.unwrap(), "holdover-error").unwrap().starts_with("/amount: "));
    let count = |outcome| {
        metric(&daemon, &format!("holdover_kafka_records_total{{outcome=\"{outcome}\"}}"))
    };
    assert_eq!((count("accepted"), count("dead_lettered")), (4.0, 4.0));
}

#[test]
fn one_key_over_http_and_kafka_is_one_transaction() {
    let count = from_environment("HOLDOVER_PAIRS", 1000);
    let Some(stage) = Stage::new("") else { return };
    let daemon = stage.site.start();
    joined(&daemon);
    let lines: Vec<String> = (0..count).map(|number| line(number, 1)).collect();
    let posting = |number: usize| {
        let mut client = daemon.client(&stage.site.submitters[0]);
        for line in lines.iter().skip(number).step_by(8) {
            let mut body: Value = serde_json::from_str(line).unwrap();
            let key = body.as_object_mut().unwrap().remove("idempotency_key").unwrap();
            let key = [("Idempotency-Key", key.as_str().unwrap())];
            let sent = body.to_string();
            let answer = client.request("POST", "/v1/transactions", &key, sent.as_bytes()).unwrap();
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let producer = stage.producer();
            for line in &lines {
                send(&producer, TOPICS[0], line, line, OwnedHeaders::new());
            }
            producer.flush(Duration::from_secs(60)).unwrap();
        });
        for number in 0..8 {
            scope.spawn(move || posting(number));
        }
    });
    let told = told(&stage, count, Duration::from_secs(60));
    assert_eq!((told.answers.len(), told.letters.len()), (count, 0));
    assert_eq!(daemon.items("accepted"), count as i64);
    let intake = &daemon.look("/admin/v1/ledger")["intake"];
    assert_eq!(intake["accepted"], json!(count));
    assert_eq!(intake["duplicates"], json!(count), "the other half of each pair");
}

#[test]
fn a_window_holds_what_is_taken_and_keeps_the_partitions() {
    let Some(stage) = Stage::new("[intake.kafka]\npoll_interval_max = \"6s\"\n") else { return };
    let starts = after(Duration::from_secs(1));
    let stop = STOP.replace("@STARTS@", &starts.to_string());
    stage
        .site
        .lay_over(&stop.replace("@ENDS@", &starts.after(Duration::from_secs(600)).to_string()));
    let daemon = stage.site.start();
    joined(&daemon);
    wait_for("the stop", Duration::from_secs(10), || {
        (metric(&daemon, "holdover_window_state{state=\"active\"}") > 0.5).then_some(())
    });
    let rebalances = || metric(&daemon, "holdover_kafka_rebalances_total");
    let before = rebalances();
    let producer = stage.producer();
    let began = Instant::now();
    let mut sent = 0;
    // Now and then a record, for longer than the group waits for somebody who does not ask.
    while began.elapsed() < Duration::from_secs(13) {
        send(&producer, TOPICS[sent % 2], "k", &line(sent, 1), OwnedHeaders::new());
        producer.flush(Duration::from_secs(30)).unwrap();
        sent += 1;
        std::thread::sleep(Duration::from_millis(2500));
    }
    let told = told(&stage, sent, Duration::from_secs(20));
    assert_eq!(told.answers.len(), sent, "taken in during the stop");
    assert_eq!(daemon.items("waiting"), sent as i64, "and held");
    assert_eq!(rebalances().to_bits(), before.to_bits());
    joined(&daemon);
    assert!(stage.site.core.calls().iter().all(|call| call["kind"] == "probe"));
    let theirs = told.answers.values().flatten().find(|a| whence(a).0 == TOPICS[0]).unwrap();
    window_and_withdrawal_of(&stage, &daemon, body(theirs)["id"].as_str().unwrap());
}

#[test]
fn what_finds_no_room_is_taken_later_and_in_its_turn() {
    let Some(stage) = Stage::new("[limits]\nopen_transactions_max = 20\n") else { return };
    let daemon = stage.site.start();
    let producer = stage.producer();
    let mut places = vec![0_u32; 10];
    for number in 0..1000 {
        let key = number % places.len();
        places[key] += 1;
        let value = line(key, places[key]);
        send(&producer, TOPICS[0], &format!("visit-{key}"), &value, OwnedHeaders::new());
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let told = told(&stage, 1000, Duration::from_secs(120));
    assert_eq!((told.answers.len(), told.letters.len()), (1000, 0));
    assert!(metric(&daemon, "holdover_kafka_intake_interruptions_total") > 0.5, "there was room");
    daemon.settle(Duration::from_secs(30));
    in_submit_order(&stage.site.core.log, &places).unwrap();
}

#[test]
fn a_core_over_kafka_that_loses_replies_applies_everything_once() {
    let records = from_environment("HOLDOVER_RECORDS", 3000);
    let Some(broker) = Broker::start() else { return };
    broker.topics(&["core.requests", "core.replies"], PARTITIONS);
    let address = broker.address();
    let config = format!(
        "[kafka]\nbrokers = [\"{address}\"]\n[upstream.bus]\nbase_url = \"\"\nkafka_requests = \"core.requests\"\n\
         kafka_replies = \"core.replies\"\n\
         [catalogue.line.\"settlement.outpatient.advice\"]\nupstream = \"bus\"\n"
    );
    let topic = ["--upstream", "bus", "--kafka", &address, "--topic", "bus=core.requests"];
    let site = Site::with_core(&config, &topic);
    site.core.script(
        "bus",
        &json!({ "lose_before": { "probability": 0.02 }, "lose_after": { "probability": 0.03 } }),
    );
    let keys = records.div_ceil(20);
    let mut places = vec![0_u32; keys];
    let mut daemon = site.start();
    let mut client = daemon.client(&site.submitters[0]);
    let kind = [("Content-Type", "application/x-ndjson")];
    let mut post = |client: &mut Client, from: usize, to: usize| {
        let mut body = String::new();
        for number in from..to {
            places[number % keys] += 1;
            body += &line(number % keys, places[number % keys]);
        }
        let path = "/v1/transactions/batch";
        let answer = client.request("POST", path, &kind, body.as_bytes()).unwrap();
        assert!(answer.text().lines().all(|line| line.contains("\"status\":202")));
    };
    post(&mut client, 0, records / 2);
    wait_for("some are applied", Duration::from_secs(60), || {
        (daemon.items("applied") > records as i64 / 8).then_some(())
    });
    daemon.kill();
    daemon = site.start();
    post(&mut daemon.client(&site.submitters[0]), records / 2, records);
    daemon.settle(Duration::from_secs(120 + records as u64 / 50));
    assert_eq!(daemon.items("applied"), records as i64);
    let counts = in_submit_order(&site.core.log, &places).unwrap();
    let lost = counts.lost_before + counts.lost_after;
    assert!(lost > records as u64 / 40, "{counts:?}");
    assert!(counts.questions >= lost, "{counts:?}");
}

#[test]
fn a_topic_whose_key_was_revoked_submits_for_nobody() {
    let Some(stage) = Stage::new("") else { return };
    let daemon = stage.site.start();
    let id = key_id(&stage.site.submitters[0]);
    let revoked = Command::new(HOLDOVER)
        .args(["key", "revoke", id, "--confirm", id, "--keys"])
        .arg(stage.site.folder().join("keys.json"))
        .output()
        .unwrap();
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    // The file is looked at once a second.
    std::thread::sleep(Duration::from_millis(1500));
    let producer = stage.producer();
    for topic in TOPICS {
        send(&producer, topic, "k", &line(1, 1), OwnedHeaders::new());
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let told = told(&stage, 2, Duration::from_secs(60));
    let letter = told.letters.values().next().unwrap();
    assert_eq!(header(&letter[0], "holdover-reason"), Some("unauthenticated"));
    let answer = told.answers.values().next().unwrap();
    assert_eq!(header(&answer[0], "holdover-topic"), Some(TOPICS[1]), "the other one goes on");
    assert_eq!(daemon.items("accepted"), 1);
}
