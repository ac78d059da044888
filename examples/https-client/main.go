// Command my-awesome-service makes one HTTPS request and says in plain words why it failed, if it failed.
//
//	my-awesome-service        check whether this system trusts anybody at all
//	my-awesome-service URL    request URL
//
// Exit code 0: fine, 1: anything else, 2: nobody is trusted here, 3: the server is not trusted.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	exitOther     = 1
	exitNoRoots   = 2
	exitUntrusted = 3
)

// bundles are the files in which Go looks for certificates on Linux, most common first.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// countRoots says how many certificate authorities this system trusts, and from which file.
func countRoots() (int, string) {
	files := bundles
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		count := 0
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if bytes.Equal([]byte(block.Type), []byte("CERTIFICATE")) {
				count++
			}
		}
		return count, file
	}
	return 0, ""
}

// explain turns an error of a request into advice and an exit code.
func explain(err error) (string, int) {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		if count, _ := countRoots(); count == 0 {
			return "there are no CA certificates in this image, so no server can be trusted; " +
				"copy /etc/ssl/certs/ca-certificates.crt into it", exitNoRoots
		}
		return "the server's certificate is signed by nobody whom this image trusts", exitUntrusted
	case errors.As(err, &hostname):
		return "the server's certificate belongs to another name", exitUntrusted
	case errors.As(err, &invalid):
		return "the server's certificate is not valid (expired, or not for this use)", exitUntrusted
	case errors.As(err, &verification):
		return "the server's certificate could not be verified", exitUntrusted
	default:
		return "the request failed before any certificate was looked at", exitOther
	}
}

// request fetches url and returns what to print and the exit code.
func request(url string) (string, int) {
	client := http.Client{Timeout: 15 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		advice, code := explain(err)
		return fmt.Sprintf("%s: %v\n%s", url, err, advice), code
	}
	defer answer.Body.Close()
	size, err := io.Copy(io.Discard, answer.Body)
	if err != nil {
		return fmt.Sprintf("%s: %v", url, err), exitOther
	}
	return fmt.Sprintf("%s: %s, %d bytes, certificate trusted", url, answer.Status, size), 0
}

func main() {
	count, file := countRoots()
	if count == 0 {
		fmt.Println("CA certificates: none")
	} else {
		fmt.Printf("CA certificates: %d in %s\n", count, file)
	}
	if len(os.Args) < 2 {
		if count == 0 {
			fmt.Println("every HTTPS request of this image would fail: certificate signed by unknown authority")
			os.Exit(exitNoRoots)
		}
		return
	}
	text, code := request(os.Args[1])
	fmt.Println(text)
	os.Exit(code)
}
