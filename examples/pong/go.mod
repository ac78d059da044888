module example.com/pong

go 1.22

require github.com/gin-gonic/gin v1.8.1-debian.1

require (
	github.com/gin-contrib/sse v0.1.0-debian.1 // indirect
	github.com/go-playground/locales v0.14.0-debian.1 // indirect
	github.com/go-playground/universal-translator v0.17.0-debian.1 // indirect
	github.com/go-playground/validator/v10 v10.4.1-debian.1 // indirect
	github.com/leodido/go-urn v1.2.1-debian.1 // indirect
	github.com/mattn/go-isatty v0.0.17-debian.1 // indirect
	github.com/pelletier/go-toml/v2 v2.0.6-debian.1 // indirect
	github.com/ugorji/go/codec v1.2.8-debian.1 // indirect
	golang.org/x/crypto v0.4.0-debian.1 // indirect
	golang.org/x/net v0.7.0-debian.1 // indirect
	golang.org/x/sys v0.3.0-debian.1 // indirect
	golang.org/x/text v0.7.0-debian.1 // indirect
	google.golang.org/protobuf v1.28.1-debian.1 // indirect
	gopkg.in/yaml.v2 v2.4.0-debian.1 // indirect
)
