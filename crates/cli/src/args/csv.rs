//! The `key=value,key=value` that `--output`, `--secret` and `--mount` take: one line of CSV, with quotes.

/// The fields of one line. A quoted field may hold commas; two quotes in it are one.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("a quote is never closed in {line:?}"));
    }
    fields.push(field);
    Ok(fields)
}

/// The same as keys and values; a key without `=` has none.
pub(crate) fn pairs(line: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let pair = |field: String| match field.split_once('=') {
        Some((key, value)) => (key.trim().to_lowercase(), Some(value.to_owned())),
        None => (field.trim().to_lowercase(), None),
    };
    Ok(fields(line)?.into_iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas() {
        assert_eq!(fields(r#"type=local,"dest=a,b",x="#).unwrap(), ["type=local", "dest=a,b", "x="]);
        assert_eq!(fields(r#""say ""hi""""#).unwrap(), [r#"say "hi""#]);
        assert_eq!(fields("").unwrap(), [""]);
        assert!(fields("\"open").is_err());
        assert_eq!(
            pairs("ID=a,required").unwrap(),
            [("id".into(), Some("a".into())), ("required".into(), None)]
        );
    }
}
