//! Everything is in the library; this only names the exit code.

fn main() -> std::process::ExitCode {
    tcp_trace::cli::main()
}
