//! Names what is on a stack: functions, files, lines.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use blazesym::{
    Pid,
    symbolize::{
        CodeInfo, Input, Sym, Symbolized, Symbolizer,
        source::{Process, Source},
    },
};
use tcp_trace_common::{STACK_DEPTH, StackRecord, VALID_TOP};

use super::{
    call,
    maps::{self, Mapping},
    wrapper::Wrappers,
};
use crate::{
    core::stack::{Frame, Stack, Unnamed},
    kernel::process_facts::{Start, is_alive},
};

/// Stacks and processes remembered.
const REMEMBERED: usize = 4096;
/// How long the names of code stand that is in no file: what is compiled as a program runs may be
/// compiled anew, and another function lie there.
const COMPILED_STANDS: Duration = Duration::from_secs(10);

/// Frames told at most, with those that the compiler has put into others.
const FRAMES: usize = 256;
/// Bytes of a name told at most: templates have no end.
const NAME: usize = 512;

/// For how long what is known of a process's memory is not read again.
const MAPS_STAND: Duration = Duration::from_secs(1);

/// A process.
type ProcessKey = (u32, u64);

/// Names what is on stacks, and remembers.
pub(super) struct Namer {
    symbolizer: Symbolizer,
    wrappers: Wrappers,
    named: HashMap<(ProcessKey, u16, Vec<u64>), Named>,
    maps: HashMap<ProcessKey, (Instant, Arc<Vec<Mapping>>)>,
}

/// A stack that has been named.
struct Named {
    stack: Arc<Stack>,
    /// Until when that stands.
    until: Option<Instant>,
}

impl Default for Namer {
    fn default() -> Self {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(true)
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .enable_demangling(true)
            .build();
        Self {
            symbolizer,
            wrappers: Wrappers::default(),
            named: HashMap::new(),
            maps: HashMap::new(),
        }
    }
}

impl Namer {
    /// The names on a stack.
    pub(super) fn name(&mut self, record: &StackRecord) -> Arc<Stack> {
        let process = (record.pid, record.process_started_ns);
        let mut addresses = addresses(record);
        let Some(mappings) = self.mappings(process, &addresses) else {
            return Arc::new(without(record, Unnamed::Ended));
        };
        // Where a function has no frame, anything may stand in its place: what is no code ends it.
        let code = addresses.iter().take_while(|it| maps::find(&mappings, **it).is_some()).count();
        addresses.truncate(code);
        self.add_caller(record, &mappings, &mut addresses);
        let key = (process, record.call, addresses);
        let known = self.named.get(&key);
        if let Some(named) = known.filter(|named| named.until.is_none_or(|it| it > Instant::now()))
        {
            return Arc::clone(&named.stack);
        }
        let addresses = &key.2;
        let frames = self.frames(record.pid, addresses, &mappings);
        // Whatever was read under that number may have been another process's.
        let alive = is_alive(record.pid, start(process));
        let frames = if alive { frames } else { Err(Unnamed::Ended) };
        let cut = record.bytes as usize >= STACK_DEPTH * size_of::<u64>();
        let stack = Arc::new(Stack { call: call(record), frames, cut });
        let file = |address| maps::find(&mappings, address).is_some_and(|it| it.file != (0, 0));
        let in_files = addresses.iter().all(|address| file(*address));
        let until = (!in_files).then(|| Instant::now() + COMPILED_STANDS);
        if self.named.len() >= REMEMBERED {
            self.named.clear();
        }
        self.named.insert(key, Named { stack: Arc::clone(&stack), until });
        stack
    }

    /// The code in a process's memory; read again, now and then, where an address lies outside of what
    /// is known.
    fn mappings(&mut self, process: ProcessKey, addresses: &[u64]) -> Option<Arc<Vec<Mapping>>> {
        let holds = |maps: &Arc<Vec<Mapping>>| {
            addresses.iter().all(|address| maps::find(maps, *address).is_some())
        };
        if let Some((read, known)) = self.maps.get(&process)
            && (holds(known) || read.elapsed() < MAPS_STAND)
        {
            return Some(Arc::clone(known));
        }
        let mappings = Arc::new(maps::of(process.0).ok()?);
        // Empty is that of one who is about to be gone.
        if mappings.is_empty() || !is_alive(process.0, start(process)) {
            return None;
        }
        if self.maps.len() >= REMEMBERED {
            self.maps.clear();
        }
        self.maps.insert(process, (Instant::now(), Arc::clone(&mappings)));
        Some(mappings)
    }

    /// Puts in the caller of the innermost function, where that has no frame.
    fn add_caller(&mut self, record: &StackRecord, mappings: &[Mapping], addresses: &mut Vec<u64>) {
        let Some(&innermost) = addresses.first().filter(|_| record.valid & VALID_TOP != 0) else {
            return;
        };
        let Some(mapping) = maps::find(mappings, innermost) else { return };
        let caller = self.wrappers.caller(record.pid, mapping, innermost, &record.top);
        if let Some(caller) = caller
            && addresses.get(1) != Some(&caller)
            && maps::find(mappings, caller).is_some()
        {
            addresses.insert(1, caller);
        }
    }

    fn frames(
        &self,
        pid: u32,
        addresses: &[u64],
        mappings: &[Mapping],
    ) -> Result<Vec<Frame>, Unnamed> {
        // Each is behind the call that it returns to, which may be the next function's first byte.
        let calls: Vec<_> = addresses.iter().map(|address| address.saturating_sub(1)).collect();
        let symbolized = |map_files| {
            let mut process = Process::new(Pid::from(pid));
            process.map_files = map_files;
            self.symbolizer.symbolize(&Source::Process(process), Input::AbsAddr(&calls))
        };
        // Paths are a fallback where looking at the mapped files themselves is not allowed.
        let named = symbolized(true).or_else(|_| symbolized(false));
        let named = named.map_err(|error| {
            tracing::debug!(pid, %error, "a stack could not be named");
            Unnamed::Unreadable
        })?;
        let mut frames = Vec::with_capacity(addresses.len());
        for (call, symbolized) in calls.iter().zip(&named) {
            let mapping = maps::find(mappings, *call);
            let module = mapping.and_then(Mapping::module);
            match symbolized {
                Symbolized::Sym(sym) => add(&mut frames, sym, module),
                Symbolized::Unknown(_) => {
                    let offset = mapping.map_or(*call, |mapping| mapping.in_file(*call));
                    frames.push(Frame { module, offset, ..Frame::default() });
                }
            }
        }
        frames.truncate(FRAMES);
        Ok(frames)
    }
}

/// Adds a function, and before it those that the compiler has put into it.
fn add(frames: &mut Vec<Frame>, sym: &Sym<'_>, module: Option<String>) {
    // They come outermost first, and the line of each is where the next was called.
    for inlined in sym.inlined.iter().rev() {
        frames.push(Frame {
            function: Some(cut(&inlined.name)),
            module: module.clone(),
            offset: 0,
            source: inlined.code_info.as_ref().map(source),
            inlined: true,
        });
    }
    frames.push(Frame {
        function: Some(cut(&sym.name)),
        module,
        offset: sym.offset as u64,
        source: sym.code_info.as_deref().map(source),
        inlined: false,
    });
}

fn cut(name: &str) -> String {
    let end = name.floor_char_boundary(NAME);
    name.get(..end).unwrap_or_default().to_owned()
}

fn source(code: &CodeInfo<'_>) -> String {
    let path = code.to_path();
    let path = path.display();
    code.line.map_or_else(|| path.to_string(), |line| format!("{path}:{line}"))
}

/// The addresses on a stack.
fn addresses(record: &StackRecord) -> Vec<u64> {
    let count = record.bytes as usize / size_of::<u64>();
    let frames = record.frames.iter().take(count).copied();
    frames.take_while(|address| *address != 0).collect()
}

fn without(record: &StackRecord, why: Unnamed) -> Stack {
    Stack { call: call(record), frames: Err(why), cut: false }
}

fn start((_, started_ns): ProcessKey) -> Option<Start> {
    (started_ns != 0).then(|| Start::from_ns(started_ns))
}
