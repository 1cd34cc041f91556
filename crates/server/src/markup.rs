//! What every page for people begins with: the console's, the API's description, `/try`.

use maud::{DOCTYPE, Markup, html};

/// What pages are sent as.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// A page of a head, to which its title belongs, and the element `body`.
pub(crate) fn document(head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                (head)
            }
            (body)
        }
    }
}
