//! One file per noun of the command line.

mod backup;
mod body;
mod credentials_file;
pub(crate) mod doctor;
mod gateway;
mod node;
mod site;
mod twin;
mod watch;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Carries out what was typed.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let client = Client::new(&cli.connection)?;
    let output = Output { json: cli.connection.json };
    match cli.command {
        Command::Gateway(command) => gateway::run(&client, output, command),
        Command::Twin(command) => twin::run(&client, output, command),
        Command::Site(command) => site::run(&client, output, command),
        Command::Node(command) => node::run(&client, output, command),
        Command::Backup(command) => backup::run(&client, output, &command),
        Command::Doctor => doctor::run(&client, &cli.connection, output),
    }
}
