//! Changes to the text of a network file: a table more, or one less, and every other byte as it was.
//!
//! Texts are cut where tables begin; nothing is parsed and written anew, so comments, order and spacing stay. Whoever calls
//! this reads the result again and compares, since a text can be written in ways that are not foreseen here. TOML only.

/// A text with one table more: behind the table whose header is at an offset, or else at the end.
pub fn with_table(text: &str, table: &str, behind: Option<usize>) -> String {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let at = behind.and_then(|at| lines_of_table(text, at)).map_or(text.len(), |(_, end)| end);
    let (before, after) = text.split_at(at);
    let table = table.trim_end().replace('\n', newline);
    let mut made = String::with_capacity(text.len() + table.len() + 8);
    made.push_str(before);
    if !before.is_empty() && !before.ends_with('\n') {
        made.push_str(newline);
    }
    if !before.trim_end().is_empty() && !made.ends_with(&newline.repeat(2)) {
        made.push_str(newline);
    }
    made.push_str(&table);
    made.push_str(newline);
    if !after.is_empty() && !after.starts_with(['\n', '\r']) {
        made.push_str(newline);
    }
    made.push_str(after);
    made
}

/// A text without the table in whose header an offset is, and without the comment right above it; none if no header is there.
/// An entry `NAME = { ... }` on one line is taken away, too.
pub fn without_table(text: &str, at: usize) -> Option<String> {
    let (start, end) = lines_of_table(text, at).or_else(|| line_of_entry(text, at))?;
    let (before, after) =
        text.split_at_checked(start).zip(text.get(end..)).map(|((before, _), after)| (before, after))?;
    // One empty line between what was above and what was below.
    let after =
        if before.is_empty() || ends_with_empty_line(before) { after.trim_start_matches(['\n', '\r']) } else { after };
    let before = if after.trim().is_empty() { before.trim_end_matches(['\n', '\r']) } else { before };
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let between = if after.trim().is_empty() && !before.is_empty() { newline } else { "" };
    Some(format!("{before}{between}{}", if after.trim().is_empty() { "" } else { after }))
}

fn ends_with_empty_line(text: &str) -> bool {
    let bare = text.strip_suffix('\n').map(|rest| rest.strip_suffix('\r').unwrap_or(rest));
    bare.is_some_and(|rest| rest.is_empty() || rest.ends_with('\n'))
}

/// From where to where a table goes whose header's line holds an offset: comments right above, and those right below its last
/// key, included.
fn lines_of_table(text: &str, at: usize) -> Option<(usize, usize)> {
    let headers = headers(text);
    let own = headers.iter().position(|header| (*header..line_end(text, *header)).contains(&at))?;
    let (header, next) = (headers[own], headers.get(own + 1).copied().unwrap_or(text.len()));
    let mut end = line_end(text, header);
    let mut line = end;
    let mut attached = true;
    while line < next {
        let after = line_end(text, line);
        let bare = text[line..after].trim();
        attached = !bare.is_empty() && (attached || !bare.starts_with('#'));
        // A comment that nothing parts from the next header is about that.
        if attached && !(bare.starts_with('#') && comments_start(text, next) <= line) {
            end = after;
        }
        line = after;
    }
    Some((comments_start(text, header), end))
}

/// The one line of an entry, if its table begins and ends there.
fn line_of_entry(text: &str, at: usize) -> Option<(usize, usize)> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let end = line_end(text, start);
    let line = text[start..end].trim();
    let value = line.split_once('=')?.1.trim();
    let bare = value.split('#').next().unwrap_or_default().trim_end();
    let is_whole =
        value.starts_with('{') && bare.ends_with('}') && bare.matches('{').count() == bare.matches('}').count();
    is_whole.then_some((start, end))
}

/// Where the comments begin that stand right above a line.
fn comments_start(text: &str, line: usize) -> usize {
    let mut start = line;
    while start > 0 {
        let above = text[..start - 1].rfind('\n').map_or(0, |newline| newline + 1);
        if !text[above..start].trim_start().starts_with('#') {
            break;
        }
        start = above;
    }
    start
}

fn line_end(text: &str, line: usize) -> usize {
    text[line..].find('\n').map_or(text.len(), |newline| line + newline + 1)
}

/// Where the lines of all table headers begin. Brackets inside values, strings and comments are none.
fn headers(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut depth, mut line, mut is_first) = (Vec::new(), 0, 0_usize, 0, true);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => {
                (line, is_first) = (at + 1, true);
                at += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' => {
                at += 1;
                continue;
            }
            b'#' => at = end_of_line(bytes, at),
            b'[' if is_first && depth == 0 => {
                found.push(line);
                at = end_of_line(bytes, at);
            }
            b'"' | b'\'' => at = end_of_string(bytes, at),
            b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ => at += 1,
        }
        is_first = false;
    }
    found
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| at + newline)
}

/// Behind the string that begins at an offset.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let is_long = bytes[at..].starts_with(&[quote; 3]);
    let mut at = at + if is_long { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 2,
            b'\n' if !is_long => return at,
            byte if *byte == quote && !is_long => return at + 1,
            byte if *byte == quote && bytes[at..].starts_with(&[quote; 3]) => return at + 3,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "[clients.new]\npublic_key = \"k\"\n";

    #[track_caller]
    fn check_with(text: &str, behind: Option<&str>, expected: &str) {
        assert_eq!(with_table(text, TABLE, behind.map(|word| text.find(word).unwrap())), expected);
    }

    #[track_caller]
    fn check_without(text: &str, expected: &str) {
        assert_eq!(without_table(text, text.find("old").unwrap()).as_deref(), Some(expected));
    }

    #[test]
    fn a_table_comes_behind_its_like_and_nothing_else_moves() {
        check_with("", None, TABLE);
        check_with("[a]\nx = 1", None, "[a]\nx = 1\n\n[clients.new]\npublic_key = \"k\"\n");
        check_with("[a]\nx = 1\n\n", None, "[a]\nx = 1\n\n[clients.new]\npublic_key = \"k\"\n");
        check_with(
            "[clients.old]\nvia = [\n  \"[a]\",\n]  # two\n# and more\n\n# Links.\n[[links]]\nmesh = [\"*\"]\n",
            Some("old"),
            "[clients.old]\nvia = [\n  \"[a]\",\n]  # two\n# and more\n\n[clients.new]\npublic_key = \"k\"\n\n# Links.\n[[links]]\nmesh = [\"*\"]\n",
        );
        check_with(
            "[clients.old]\n# b\n[b]\n",
            Some("old"),
            "[clients.old]\n\n[clients.new]\npublic_key = \"k\"\n\n# b\n[b]\n",
        );
        check_with("[a]\r\nx = 1\r\n", None, "[a]\r\nx = 1\r\n\r\n[clients.new]\r\npublic_key = \"k\"\r\n");
    }

    #[test]
    fn a_table_goes_with_its_comments_and_nothing_else_does() {
        check_without(
            "[a]\nx = 1\n\n# His.\n[clients.old]\nvia = [\"a\"]\n# until May\n\n# B.\n[b]\n",
            "[a]\nx = 1\n\n# B.\n[b]\n",
        );
        check_without("[a]\nx = 1\n\n[clients.old]\n", "[a]\nx = 1\n");
        check_without("[a]\nx = 1\n[clients.old]\n[b]\n", "[a]\nx = 1\n[b]\n");
        check_without("[clients.old]\n", "");
        check_without("[clients.old]\nkey = \"\"\"\n[no.header]\n\"\"\"\n[b]\n", "[b]\n");
        check_without("[clients]\nold = { via = [\"a\"] } # c\nnew = {}\n", "[clients]\nnew = {}\n");
        check_without("[a]\r\n\r\n[clients.old]\r\nx = 1\r\n\r\n[b]\r\n", "[a]\r\n\r\n[b]\r\n");
    }

    #[test]
    fn what_is_no_table_is_left_alone() {
        for text in ["clients.old.via = [\"a\"]\n", "clients = {\n old = {} }", "x = \"old\"\n"] {
            assert_eq!(without_table(text, text.find("old").unwrap()), None, "{text}");
        }
    }

    #[test]
    fn taking_away_what_was_added_gives_the_text_back() {
        for text in ["[a]\nx = 1\n", "[clients.one]\n\n[[links]]\nmesh = [\"*\"]\n", "# only a comment\n\n[a]\n# end\n"]
        {
            for behind in [None, text.find("one")] {
                let more = with_table(text, TABLE, behind);
                assert_eq!(without_table(&more, more.find("new").unwrap()).as_deref(), Some(text), "{more}");
            }
        }
    }
}
