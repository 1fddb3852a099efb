//! The properties of the output: whether it shows colours, and how wide it is.

use std::io::{self, IsTerminal};

use crate::cli::ColorChoice;

/// The screen or file on which a text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Whether colours are shown (from xterm's 256 colours).
    pub colour: bool,
    /// The width in columns; `None` if lines may have any length.
    pub width: Option<usize>,
}

impl Screen {
    /// Output without escape sequences and of any width.
    pub const PLAIN: Self = Self {
        colour: false,
        width: None,
    };

    /// Returns the properties of standard output. `choice` and the environment determine the
    /// colours.
    pub fn of_stdout(choice: ColorChoice) -> Self {
        let stdout = io::stdout();
        let width = terminal_size::terminal_size()
            .filter(|_| stdout.is_terminal())
            .map(|(width, _)| usize::from(width.0));
        Self {
            colour: has_colour(choice, &stdout),
            width,
        }
    }
}

/// Returns whether to write colours to `stream`. The order of precedence is that of
/// <https://bixense.com/clicolors/>: the user's choice, `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`,
/// and then whether `stream` is a terminal with colours.
pub(crate) fn has_colour(choice: ColorChoice, stream: &impl IsTerminal) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if anstyle_query::no_color() => false,
        ColorChoice::Auto if anstyle_query::clicolor_force() => true,
        ColorChoice::Auto => anstyle_query::clicolor() != Some(false) && can_redraw(stream),
    }
}

/// Returns whether `stream` is a terminal that interprets escape sequences, and not a file, a pipe
/// or `TERM=dumb`.
pub(crate) fn can_redraw(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && anstyle_query::term_supports_color()
}
