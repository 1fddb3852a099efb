//! The terminal, or the lack of one: whether it shows colours and how wide it is.

use std::io::{self, IsTerminal};

use crate::cli::ColorChoice;

/// The surface that a text is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Whether it shows colours (of xterm's 256).
    pub colour: bool,
    /// Its width in columns; `None` if lines may have any length.
    pub width: Option<usize>,
}

impl Screen {
    /// Text without escapes and of any width.
    pub const PLAIN: Self = Self {
        colour: false,
        width: None,
    };

    /// Standard output, with colours as `choice` and the environment say.
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

/// Whether to write colours to `stream`. The order is that of <https://bixense.com/clicolors/>: what
/// the user asks for, `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`, and then whether `stream` is a
/// terminal with colours.
pub(crate) fn has_colour(choice: ColorChoice, stream: &impl IsTerminal) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if anstyle_query::no_color() => false,
        ColorChoice::Auto if anstyle_query::clicolor_force() => true,
        ColorChoice::Auto => anstyle_query::clicolor() != Some(false) && can_redraw(stream),
    }
}

/// Whether `stream` is a terminal that obeys escapes: not a file, a pipe or `TERM=dumb`.
pub(crate) fn can_redraw(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && anstyle_query::term_supports_color()
}
