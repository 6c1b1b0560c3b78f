//! What a load says of its plugins, whatever its rows come from.

use clap::Args;

/// The cleaners, and settings.
#[derive(Clone, Debug, Default, Args)]
pub struct PluginArguments {
    /// A row cleaner, in place of those of the pipeline; repeat to chain them
    #[arg(long, value_name = "FILE", help_heading = "Plugins")]
    pub cleaner: Vec<String>,
    /// A setting of the source
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Plugins")]
    pub config: Vec<String>,
    /// A setting of the cleaner; of several, NAME.KEY=VALUE says whose
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Plugins")]
    pub cleaner_config: Vec<String>,
}
