//! stub
pub fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt().with_env_filter("debug").init();
    let rt = tokio::runtime::Runtime::new().unwrap();
    let config = crate::engine::live::Config { netns: std::env::args().skip(1).collect(), ..Default::default() };
    tracing::info!("start"); let t = std::time::Instant::now();
    let engine = match crate::engine::live::start(&config) { Ok(e) => e, Err(e) => { eprintln!("{e:#}"); return 1.into(); } };
    eprintln!("started in {:?}", t.elapsed());
    let h = engine.handle();
    rt.block_on(async {
        let mut rx = h.events();
        println!("{}", serde_json::to_string_pretty(&h.status().await.unwrap()).unwrap());
        println!("{}", h.connections(Default::default(), 0, false).await.unwrap().total);
        let end = tokio::time::sleep(std::time::Duration::from_secs(4)); tokio::pin!(end);
        loop { tokio::select!{ _ = &mut end => break, e = rx.recv() => match &*e.unwrap() { crate::api::Event::State(s) => println!("{} {}:{} {}:{} {} -> {} {:?} {} {:?}", s.at, s.connection.local.addr, s.connection.local.port, s.connection.remote.addr, s.connection.remote.port, s.from, s.to, s.in_state_seconds, s.text, s.connection.owner.as_ref().map(|o| (o.comm.clone(), o.pid))), other => println!("{other:?}") } } }
        let f = h.figures().await.unwrap();
        println!("{:?} {:?} {:?}", f.gauges, f.lost, f.program);
    });
    0.into()
}
