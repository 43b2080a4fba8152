//! The icons: Lucide's, those that are used. `tools/icons` adds one; then name it here.

use maud::{Markup, PreEscaped, html};

macro_rules! icons {
    ($($name:ident = $file:literal,)*) => {
        /// An icon. What it means is always said in words beside it, or by the label of its button.
        #[allow(missing_docs)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Icon { $($name,)* }

        impl Icon {
            const fn drawing(self) -> &'static str {
                match self {
                    $(Icon::$name => include_str!(concat!("assets/icons/", $file, ".svg")),)*
                }
            }

            #[cfg(test)]
            const ALL: &[Icon] = &[$(Icon::$name,)*];
        }
    };
}

icons! {
    Account = "circle-user",
    Alert = "triangle-alert",
    Audit = "scroll-text",
    Back = "arrow-left",
    Busy = "loader",
    Cancel = "x",
    Copy = "copy",
    Done = "circle-check",
    Download = "download",
    Edit = "pencil",
    External = "external-link",
    Failed = "circle-x",
    Health = "activity",
    History = "history",
    Idle = "circle-dashed",
    Info = "info",
    Json = "file-json",
    Key = "key-round",
    Link = "link",
    Lock = "lock",
    Menu = "menu",
    Network = "network",
    Next = "chevron-right",
    Overview = "layout-dashboard",
    Paused = "circle-pause",
    Play = "play",
    Plus = "plus",
    Power = "power",
    Previous = "chevron-left",
    Projects = "folder",
    Repeat = "refresh-cw",
    Search = "search",
    Server = "server",
    Services = "boxes",
    Sessions = "monitor-smartphone",
    Shield = "shield-check",
    Show = "eye",
    SignOut = "log-out",
    Software = "package",
    Star = "star",
    Stop = "square",
    Tag = "tag",
    Terminal = "terminal",
    Theme = "sun-moon",
    Ticket = "ticket",
    Trash = "trash-2",
    Tree = "workflow",
    Unplugged = "unplug",
    Upgrade = "circle-arrow-up",
    UserPlus = "user-plus",
    Users = "users",
    Wait = "hourglass",
    Work = "hammer",
    Wrench = "wrench",
    Yes = "check",
}

impl maud::Render for Icon {
    fn render(&self) -> Markup {
        let drawing = self.drawing();
        let begin = drawing.find('>').map_or(0, |at| at + 1);
        let end = drawing.rfind("</svg>").unwrap_or(begin);
        html! {
            svg class="i" viewBox="0 0 24 24" aria-hidden="true" {
                (PreEscaped(drawing.get(begin..end).unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use maud::Render;

    use super::*;

    #[test]
    fn every_icon_is_drawn() {
        for icon in Icon::ALL {
            let drawn = icon.render().into_string();
            assert!(drawn.len() > 80, "{icon:?}: {drawn}");
            assert_eq!(drawn.matches("<svg").count(), 1, "{icon:?}");
        }
    }
}
