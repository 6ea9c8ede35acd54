use std::sync::Arc;

use super::*;

fn frame(function: &str, module: &str) -> Frame {
    Frame {
        function: (!function.is_empty()).then(|| function.to_owned()),
        module: Some(module.to_owned()),
        offset: 0x1f,
        ..Frame::default()
    }
}

fn stack(frames: &[(&str, &str)]) -> Stack {
    let frames = frames.iter().map(|(function, module)| frame(function, module)).collect();
    Stack { call: StackCall::Accept, frames: Ok(frames), cut: false }
}

#[test]
fn the_line_names_the_programs_own_functions() {
    let rows: [(&[(&str, &str)], &str); 9] = [
        (
            &[
                ("accept4", "libc.so.6"),
                ("std::net::tcp::TcpListener::accept", "shop"),
                ("shop::handler", "shop"),
                ("shop::serve", "shop"),
                ("main", "shop"),
                ("__libc_start_main", "libc.so.6"),
                ("_start", "shop"),
            ],
            "shop::handler ← shop::serve ← main",
        ),
        (&[("", "libc.so.6"), ("", "stripped"), ("", "stripped")], "stripped+0x1f ← stripped+0x1f"),
        (
            &[
                ("syscall.Syscall6", "go-shop"),
                ("net.(*netFD).accept", "go-shop"),
                ("main.(*Shop).Serve", "go-shop"),
                ("runtime.goexit", "go-shop"),
            ],
            "main.(*Shop).Serve",
        ),
        (
            &[
                ("__connect", "libc.so.6"),
                ("uv_tcp_connect", "node"),
                ("Builtins_InterpreterEntryTrampoline", "node"),
                ("JS:~internalConnect node:net:1038:25", "?"),
                ("LazyCompile:~buy /srv/shop.js:12:3", "node"),
                ("Function:*serve /srv/shop.js:40:1", "node"),
            ],
            "buy /srv/shop.js:12:3 ← serve /srv/shop.js:40:1",
        ),
        (&[("sock_connect", "_socket.so"), ("py::fetch:/srv/shop.py", "?")], "fetch:/srv/shop.py"),
        (&[("a", "p"), ("b", "p"), ("c", "p"), ("d", "p"), ("e", "p")], "a ← b ← c ← d ← …"),
        (&[("start_thread", "libc.so.6"), ("clone3", "libc.so.6")], "start_thread ← clone3"),
        (&[], "nothing of it is known"),
        (&[("connect", "libc.so.6"), ("open_pool", "p")], "open_pool"),
    ];
    for (frames, line) in rows {
        assert_eq!(stack(frames).headline(), line);
    }
}

#[test]
fn a_line_of_source_is_said_and_a_long_name_is_cut() {
    let mut one = stack(&[("shop::buy", "shop")]);
    if let Ok(frames) = &mut one.frames {
        frames[0].source = Some("/build/shop/src/pool.rs:42".to_owned());
    }
    assert_eq!(one.headline(), "shop::buy (pool.rs:42)");
    let long = "äbc".repeat(40);
    let line = stack(&[(&long, "shop")]).headline();
    assert_eq!(line.chars().count(), 61);
    assert!(line.ends_with('…'));
}

#[test]
fn why_there_is_none_is_said() {
    let ended = Stack { frames: Err(Unnamed::Ended), ..stack(&[]) };
    assert_eq!(ended.headline(), "its process ended before its stack could be read");
}

#[test]
fn a_stack_is_kept_once() {
    let mut stacks = Stacks::default();
    let first = stacks.keep(&Arc::new(stack(&[("a", "p")])));
    let other = stacks.keep(&Arc::new(stack(&[("b", "p")])));
    assert_eq!(stacks.keep(&Arc::new(stack(&[("a", "p")]))), first);
    assert_ne!(first, other);
    let (call, headline) = stacks.headline(first).unwrap();
    assert_eq!((call, &**headline), (StackCall::Accept, "a"));
}

#[test]
fn the_one_met_longest_ago_makes_room_and_its_number_is_not_given_again() {
    let mut stacks = Stacks::default();
    let one = |name: String| Arc::new(stack(&[(&name, "p")]));
    let first = stacks.keep(&one("f0".to_owned()));
    let second = stacks.keep(&one("f1".to_owned()));
    for number in 2..KEPT {
        stacks.keep(&one(format!("f{number}")));
    }
    assert_eq!(stacks.keep(&one("f0".to_owned())), first);
    let last = stacks.keep(&one("one too many".to_owned()));
    assert!(stacks.get(second).is_none() && stacks.get(first).is_some());
    assert!(stacks.get(last).is_some());
    assert_eq!((stacks.forgotten(), stacks.kept.len()), (1, KEPT));
    let again = stacks.keep(&one("f1".to_owned()));
    assert!(again > last);
}
