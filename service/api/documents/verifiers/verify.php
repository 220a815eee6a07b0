<?php
// Verifies a webhook that Posthorn sent. PHP 8.0 or newer; whpk_ keys need the bundled extension sodium.

// $secrets: whsec_… or whpk_…, several during a rotation. $headers: getallheaders().
// $body: file_get_contents('php://input'), before anything parses it.
function verify_webhook(array $secrets, array $headers, string $body, ?int $now = null): bool
{
    $headers = array_change_key_case($headers);
    $names = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];
    [$id, $time, $signatures] = array_map(fn ($name) => $headers[$name] ?? '', $names);
    $age = ($now ?? time()) - (int) $time;
    if (!preg_match('/^[\w-]{1,64}$/D', $id) || !preg_match('/^\d{1,12}$/D', $time) || abs($age) > 300) {
        return false;
    }
    foreach (array_slice(explode(' ', $signatures), 0, 20) as $part) {
        [$version, $text] = [...explode(',', $part, 2), ''];
        $given = base64_decode($text, true) ?: '';
        foreach ($secrets as $secret) {
            [$kind, $encoded] = [...explode('_', $secret, 2), ''];
            $key = base64_decode($encoded, true) ?: '';
            $is_key = strlen($key) >= 24; // with a guessable one anybody could sign
            if ($is_key && signature_matches($kind . $version, $key, "$id.$time.$body", $given)) {
                return true;
            }
        }
    }
    return false;
}

function signature_matches(string $kind, string $key, string $content, string $given): bool
{
    return match ($kind) {
        'whsecv1' => hash_equals(hash_hmac('sha256', $content, $key, true), $given), // in constant time
        'whpkv1a' => strlen($given) === 64 && sodium_crypto_sign_verify_detached($given, $content, $key),
        default => false,
    };
}
