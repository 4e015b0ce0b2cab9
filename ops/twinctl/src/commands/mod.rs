//! One file per noun of the command line.

mod audit;
mod backup;
mod body;
mod bulk;
mod certificates;
mod credentials_file;
mod devices;
pub(crate) mod doctor;
mod gateway;
mod node;
mod site;
mod token;
mod twin;
mod watch;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Carries out what was typed.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output { json: cli.connection.json };
    // It asks no node.
    if let Command::BackupFetch(command) = &cli.command {
        return backup::fetch(output, command);
    }
    let client = Client::new(&cli.connection)?;
    match cli.command {
        Command::Gateway(command) => gateway::run(&client, output, command),
        Command::Twin(command) => twin::run(&client, output, command),
        Command::Site(command) => site::run(&client, output, command),
        Command::Node(command) => node::run(&client, output, command),
        Command::Token(command) => token::run(&client, output, command),
        Command::Audit { limit, kind, before } => audit::run(&client, output, limit, kind, before),
        Command::ReloadCertificates => certificates::reload(&client, output),
        Command::Export(arguments) => bulk::export(&client, &arguments),
        Command::Import { file } => bulk::import(&client, output, &file),
        Command::Apply { file } => bulk::apply(&client, output, &file),
        Command::Backup(command) => backup::run(&client, output, &command),
        Command::BackupFetch(command) => backup::fetch(output, &command),
        Command::Doctor => doctor::run(&client, &cli.connection, output),
    }
}
