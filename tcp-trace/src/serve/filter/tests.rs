use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn query(text: &str) -> Result<Query, String> {
    FilterArgs::from_query_string(text)
        .and_then(|args| args.to_query())
        .map_err(|error| error.to_string())
}

#[test]
fn every_parameter_arrives() {
    let query = query(
        "state=close_wait,LAST-ACK&state=close_wait&older_than=1h30m&pid=7&process=java%20vm\
         &local=10.0.0.0/8&remote=%5B::1%5D:443&port=8080&netns=4026531840",
    )
    .unwrap();
    let expected = Query {
        states: vec![TcpState::CloseWait, TcpState::LastAck],
        older_than: Some(Duration::from_mins(90)),
        pid: Some(7),
        process: Some("java vm".to_owned()),
        local: Some("10.0.0.0/8".parse().unwrap()),
        remote: Some("[::1]:443".parse().unwrap()),
        port: Some(8080),
        netns: Some(4_026_531_840),
    };
    assert_eq!(query, expected);
}

#[test]
fn nothing_lets_everything_through() {
    for text in ["", "&", "&&", "closed", "limit=5"] {
        assert_eq!(query(text), Ok(Query::default()), "{text:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_a_way_out() {
    let rows = [
        ("state=closewait", "state: 'closewait' does not fit; it takes one or more, with commas"),
        ("state=", "state: '' does not fit; it takes one or more"),
        ("older_than=abc", "older_than: 'abc' does not fit; it takes a span of time such as 90"),
        ("pid=-1", "pid: '-1' does not fit; it takes a whole number"),
        ("process=", "process: '' does not fit; it takes the name of a process"),
        ("local=a.b", "local: 'a.b' does not fit; it takes 10.0.0.1, 10.0.0.0/8,"),
        ("remote=1.2.3.4/99", "remote: '1.2.3.4/99' does not fit; it takes"),
        ("port=70000", "port: '70000' does not fit; it takes a port, 0 to 65535"),
        ("netns=x", "netns: 'x' does not fit; it takes the inode"),
        ("closed=maybe", "closed: 'maybe' does not fit; it takes true or false"),
        ("limit=-1", "limit: '-1' does not fit; it takes a whole number, 0 for all"),
        ("limit=1&limit=2", "limit is given twice; only state may be repeated"),
        ("pid=1&pid=1", "pid is given twice"),
        ("colour=red", "'colour' is no parameter; the parameters are: state (may be repeated)"),
        ("process=%ff", "'%ff' is no percent-encoded UTF-8 text"),
        ("process=%", "'%' is no percent-encoded UTF-8 text"),
        ("process=%4", "'%4' is no percent-encoded UTF-8 text"),
        ("process=%zz", "'%zz' is no percent-encoded UTF-8 text"),
        ("%00=1", "'\\u{0}' is no parameter"),
    ];
    for (text, expected) in rows {
        let error = query(text).unwrap_err();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

#[test]
fn what_is_too_long_is_cut_in_the_message_and_refused_as_a_whole() {
    let error = query(&format!("pid={}", "9".repeat(200))).unwrap_err();
    assert!(error.contains(&format!("{}…", "9".repeat(80))) && error.len() < 200, "{error}");
    let error = query(&"a".repeat(LONGEST + 1)).unwrap_err();
    assert_eq!(error, "the query string is longer than 8192 bytes");
}

#[test]
fn a_long_process_name_is_cut_as_the_kernel_cuts_it() {
    let query = query("process=systemd-resolved-daemon").unwrap();
    assert_eq!(query.process.as_deref(), Some("systemd-resolve"));
}

#[test]
fn a_stream_of_events_takes_no_list_s_parameters() {
    let error = |text| {
        let args = FilterArgs::from_query_string(text).unwrap();
        args.to_event_query().unwrap_err()
    };
    assert_eq!(error("closed"), FilterError::NotForEvents("closed"));
    assert_eq!(error("limit=1"), FilterError::NotForEvents("limit"));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        state in prop::collection::vec(".{0,20}", 0..3),
        process in prop::option::of(".{0,20}"),
        remote in prop::option::of("\\PC{0,20}"),
        closed in any::<bool>(),
        limit in prop::option::of(any::<usize>()),
    ) {
        let args = FilterArgs { state, process, remote, closed, limit, ..FilterArgs::default() };
        prop_assert_eq!(FilterArgs::from_query_string(&args.to_query_string()), Ok(args));
    }

    #[test]
    fn no_query_string_is_too_much(text in "[a-z%&=+0-9\\PC]{0,80}") {
        let _ = query(&text);
    }
}
