fn main() -> std::process::ExitCode {
    ncfs::cli::main()
}
