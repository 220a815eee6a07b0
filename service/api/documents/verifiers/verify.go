// Package webhook verifies webhooks that Posthorn sent. Go 1.18 or newer, standard library only.
package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var idForm, timeForm = regexp.MustCompile(`^[\w-]{1,64}$`), regexp.MustCompile(`^\d{1,12}$`)

// Verify takes secrets (whsec_… or whpk_…, several during a rotation), request.Header.Get, and the body as it arrived.
func Verify(secrets []string, header func(string) string, body []byte, now time.Time) bool {
	id, timestamp := header("webhook-id"), header("webhook-timestamp")
	seconds, _ := strconv.ParseInt(timestamp, 10, 64)
	age := now.Unix() - seconds
	if !idForm.MatchString(id) || !timeForm.MatchString(timestamp) || age > 300 || age < -300 {
		return false
	}
	content := append([]byte(id+"."+timestamp+"."), body...)
	for _, part := range strings.SplitN(header("webhook-signature"), " ", 20) {
		version, text, _ := strings.Cut(part, ",")
		given, err := base64.StdEncoding.DecodeString(text)
		for _, secret := range secrets {
			prefix, encoded, _ := strings.Cut(secret, "_")
			key, bad := base64.StdEncoding.DecodeString(encoded)
			isKey := bad == nil && len(key) >= 24 // with a guessable one anybody could sign
			if isKey && err == nil && matches(prefix+version, key, content, given) {
				return true
			}
		}
	}
	return false
}

func matches(kind string, key, content, given []byte) bool {
	if kind == "whpkv1a" {
		return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, content, given)
	}
	digest := hmac.New(sha256.New, key)
	digest.Write(content)
	return kind == "whsecv1" && hmac.Equal(digest.Sum(nil), given) // in constant time
}
