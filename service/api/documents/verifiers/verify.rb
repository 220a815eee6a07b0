# Verifies a webhook that Posthorn sent. Ruby 3.0 or newer, standard library only.
require "openssl"

SPKI = ["302a300506032b6570032100"].pack("H*") # stands before an Ed25519 public key in DER

# secrets: whsec_… or whpk_…, several during a rotation. headers: request.headers. body: request.raw_post.
def verify_webhook(secrets, headers, body, now = Time.now.to_i)
  id, time, signatures = %w[id timestamp signature].map { |name| headers["webhook-#{name}"].to_s }
  return false unless id.match?(/\A[a-zA-Z0-9_-]{1,64}\z/) && time.match?(/\A[0-9]{1,12}\z/)
  return false if (now - time.to_i).abs > 300

  content = "#{id}.#{time}.".b + body.b
  parts = signatures.split(" ").first(20).map { |part| part.split(",", 2) }
  secrets.product(parts).any? { |secret, (version, text)| signature_matches?(secret, version, text.to_s, content) }
end

def signature_matches?(secret, version, text, content)
  kind, encoded = secret.split("_", 2)
  key, given = encoded.to_s.unpack1("m"), text.unpack1("m")
  return false if key.bytesize < 24 || [key].pack("m0") != encoded # with a guessable key anybody could sign

  case kind + version
  when "whsecv1" then OpenSSL.secure_compare(OpenSSL::HMAC.digest("SHA256", key, content), given)
  when "whpkv1a" then given.bytesize == 64 && OpenSSL::PKey.read(SPKI + key).verify(nil, given, content)
  else false
  end
end
