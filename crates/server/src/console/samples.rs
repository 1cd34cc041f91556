//! Shows how a backend mints a token, in several languages. The App-Secret stands in none of them.

use serde_json::json;

/// What the call says.
pub(super) struct Mint<'a> {
    /// The server, as the browser reaches it.
    pub(super) url: &'a str,
    pub(super) endpoint: &'a str,
    /// None in development mode.
    pub(super) role: Option<&'a str>,
}

impl Mint<'_> {
    /// Each language's name and text. The App-Secret is read from where the backend keeps it, and stands in none.
    pub(super) fn samples(&self) -> [(&'static str, String); 6] {
        let url = format!("{}/v1/tokens", self.url);
        let body = match self.role {
            Some(role) => json!({ "endpointId": self.endpoint, "roleId": role }),
            None => json!({ "endpointId": self.endpoint }),
        };
        let body = body.to_string();
        // JSON's way to write text is understood by Java and C# too, and a JSON object is one of JavaScript.
        let literal = json!(body).to_string();
        let quoted = body.replace('\\', "\\\\").replace('\'', "\\'");
        let shell = body.replace('\'', "'\\''");
        [
            (
                "curl",
                format!(
                    "curl {url} \\\n  -H \"App-Secret: $APP_SECRET\" \\\n  -H 'Content-Type: application/json' \\\n  -d '{shell}'"
                ),
            ),
            (
                "Node.js",
                format!(
                    "const answer = await fetch('{url}', {{\n  method: 'POST',\n  headers: {{ 'App-Secret': process.env.APP_SECRET, \
                     'Content-Type': 'application/json' }},\n  body: JSON.stringify({body}),\n}});\nconst {{ tokenId }} = await \
                     answer.json();"
                ),
            ),
            (
                "PHP",
                format!(
                    "$curl = curl_init('{url}');\ncurl_setopt_array($curl, [\n    CURLOPT_RETURNTRANSFER => true,\n    \
                     CURLOPT_HTTPHEADER => ['App-Secret: ' . getenv('APP_SECRET'), 'Content-Type: application/json'],\n    \
                     CURLOPT_POSTFIELDS => '{quoted}',\n]);\n$tokenId = json_decode(curl_exec($curl))->tokenId;"
                ),
            ),
            (
                "Ruby",
                format!(
                    "require 'net/http'\nrequire 'json'\n\nanswer = Net::HTTP.post(\n  URI('{url}'),\n  '{quoted}',\n  'App-Secret' => \
                     ENV.fetch('APP_SECRET'), 'Content-Type' => 'application/json'\n)\ntoken_id = JSON.parse(answer.body)['tokenId']"
                ),
            ),
            (
                "Java",
                format!(
                    "var request = HttpRequest.newBuilder(URI.create(\"{url}\"))\n    .header(\"App-Secret\", \
                     System.getenv(\"APP_SECRET\"))\n    .header(\"Content-Type\", \"application/json\")\n    \
                     .POST(BodyPublishers.ofString({literal}))\n    .build();\nvar answer = HttpClient.newHttpClient()\n    \
                     .send(request, BodyHandlers.ofString()).body(); // {{\"tokenId\": …}}"
                ),
            ),
            (
                "C#",
                format!(
                    "using var client = new HttpClient();\nclient.DefaultRequestHeaders.Add(\"App-Secret\", \
                     Environment.GetEnvironmentVariable(\"APP_SECRET\"));\nvar body = new StringContent({literal}, Encoding.UTF8, \
                     \"application/json\");\nvar answer = await client.PostAsync(\"{url}\", body);\nvar json = JsonDocument.Parse(await \
                     answer.Content.ReadAsStringAsync());\nvar tokenId = json.RootElement.GetProperty(\"tokenId\").GetString();"
                ),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_each_language_wants_it() {
        let mint = Mint { url: "http://h:1", endpoint: "o'ne \"two\"", role: Some("R") };
        let [curl, node, php, ruby, java, csharp] = mint.samples().map(|(_, text)| text);
        assert!(curl.contains(r#"-d '{"endpointId":"o'\''ne \"two\"","roleId":"R"}'"#), "{curl}");
        assert!(node.contains(r#"JSON.stringify({"endpointId":"o'ne \"two\"","roleId":"R"})"#), "{node}");
        for text in [php, ruby] {
            assert!(text.contains(r#"'{"endpointId":"o\'ne \\"two\\"","roleId":"R"}'"#), "{text}");
        }
        for text in [java, csharp] {
            assert!(text.contains(r#"("{\"endpointId\":\"o'ne \\\"two\\\"\",\"roleId\":\"R\"}""#), "{text}");
        }
    }

    #[test]
    fn every_call_takes_the_secret_from_its_place() {
        let mint = Mint { url: "http://h:1", endpoint: "a", role: None };
        for (name, text) in mint.samples() {
            assert!(text.contains("APP_SECRET") && text.contains("http://h:1/v1/tokens"), "{name}: {text}");
            assert!(!text.contains("rspk_") && !text.contains("roleId"), "{name}: {text}");
        }
    }
}
